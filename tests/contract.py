"""What every pair of strategies owes its users; test_contract.py puts every pair through it."""

from __future__ import annotations

import torch

import bayesmeta as bm
from bayesmeta.models import normal_means
from bayesmeta.phi import Phi
from bayesmeta.theta import Theta


def check_pair(theta: Theta, phi: Phi) -> None:
    """Fit, shapes, adaptation, prediction, reproducibility and the caller's random state."""
    tasks = normal_means.tasks(num_tasks=5, num_data=4, seed=1, ragged=True)
    before = torch.random.get_rng_state()
    post = bm.fit(normal_means.model, tasks, theta=theta, phi=phi, seed=3, progress=False)
    assert torch.equal(torch.random.get_rng_state(), before)
    check_draws(post, tasks, phi.draws_at_point)
    check_prediction(post, tasks)
    check_adaptation(post)
    again = bm.fit(normal_means.model, tasks, theta=theta, phi=phi, seed=3, progress=False)
    assert torch.equal(again.theta["mu"], post.theta["mu"])
    assert torch.equal(again.phi["phi"], post.phi["phi"])
    assert torch.equal(again.predict().draws.nan_to_num(), post.predict().draws.nan_to_num())


def check_draws(post: bm.Posterior, tasks: bm.Tasks, draws_at_point: int) -> None:
    """Draws lead with (chain, draw); a point estimate is one chain, of one draw if phi is one."""
    chains, draws = post.theta["mu"].shape
    assert post.phi["phi"].shape == (chains, draws, tasks.num_tasks)
    assert not post.is_point or (chains, draws) == (1, draws_at_point)
    assert post.is_point == (len(post.theta["mu"].unique()) == 1)
    assert torch.isfinite(post.phi["phi"]).all()
    assert torch.isfinite(post.theta["mu"]).all()
    values = post.log_likelihood()
    assert values.shape == (chains, draws, tasks.num_tasks, tasks.num_data)
    expected = torch.distributions.Normal(post.phi["phi"][..., None], normal_means.SIGMA).log_prob(
        tasks.y
    )
    assert torch.allclose(values, torch.where(tasks.mask, expected, 0.0), atol=1e-10)


def check_prediction(post: bm.Posterior, tasks: bm.Tasks) -> None:
    """Predictions have the data's shape, NaN on padding, and the mean of their own draws."""
    prediction = post.predict()
    assert prediction.mean.shape == (tasks.num_tasks, tasks.num_data)
    assert torch.equal(torch.isnan(prediction.mean), ~tasks.mask)
    assert torch.allclose(
        prediction.mean[tasks.mask],
        post.phi["phi"].mean((0, 1))[:, None].expand(tasks.mask.shape)[tasks.mask],
    )


def check_adaptation(post: bm.Posterior) -> None:
    """New tasks, an empty one among them, get a phi that follows their data; theta stays."""
    new = bm.Tasks.from_list([[9.0, 9.5, 8.5], []], names=["seen", "empty"]).to(dtype=torch.float64)
    adapted = post.adapt(new)
    assert adapted.phi["phi"].shape == (*post.theta["mu"].shape, 2)
    assert torch.equal(adapted.theta["mu"], post.theta["mu"])
    mean = adapted.phi["phi"].mean((0, 1))
    assert mean[0] > mean[1], "phi of a task whose data are high is not above that of an empty one"
    assert torch.equal(post.adapt(new).phi["phi"], adapted.phi["phi"])
