"""HMC: phi at a known theta against quadrature, where it is not Gaussian."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import bayesmeta as bm
from bayesmeta.models import normal_means
from bayesmeta.task_level import corrected_draws

TASKS = bm.Tasks.from_list([[1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0], []]).to(dtype=torch.float64)
SD = 2.5


def model(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, SD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=phi), obs=tasks.y)


def moments() -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sd of phi at mu = 0.4 on a grid, (tasks,)."""
    grid = torch.linspace(-20, 25, 20_001, dtype=torch.float64)[:, None]
    ones = torch.where(TASKS.mask, TASKS.y, 0.0).sum(1)
    log_p = ones * grid - TASKS.sizes * torch.nn.functional.softplus(grid)
    weights = (log_p - 0.5 * ((grid - 0.4) / SD) ** 2).softmax(0)
    mean = (weights * grid).sum(0)
    return mean, (weights * (grid - mean) ** 2).sum(0).sqrt()


def _off(phi: bm.HMC | bm.Laplace) -> tuple[float, float]:
    """How far the draws' mean is off, in sds, and their sd, as a share of it."""
    theta = bm.Fixed({"mu": torch.tensor(0.4)})
    draws = bm.fit(model, TASKS, theta=theta, phi=phi, progress=False).phi["phi"][0]
    mean, sd = moments()
    error = ((draws.mean(0) - mean) / sd).abs().max()
    return float(error), float((draws.std(0) / sd - 1).abs().max())


@pytest.mark.parametrize("phi", [bm.HMC(draws=4000), bm.Laplace(draws=4000)])
def test_draws_have_the_moments_of_the_posterior(phi: bm.HMC | bm.Laplace) -> None:
    assert max(_off(phi)) < 0.07


def test_negative_control_the_modes_gaussian_has_another_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corrected_draws, "are_normal", lambda *given: torch.tensor(True))
    assert _off(bm.Laplace(draws=4000))[0] > 0.1


def test_it_infers_no_theta() -> None:
    with pytest.raises(ValueError, match=r"no log evidence by which theta=bm\.Point"):
        bm.fit(model, TASKS, theta=bm.Point(), phi=bm.HMC())


def test_it_adapts_after_a_point_estimate() -> None:
    adam = bm.Adam(lr=0.1, steps=100, compile=False)
    tasks = normal_means.tasks()
    post = bm.fit(
        normal_means.model, tasks, theta=bm.Point(adam=adam), phi=bm.Exact(), progress=False
    )
    draws = post.adapt(tasks, phi=bm.HMC(4000)).phi["phi"][0]
    precision = normal_means.TAU**-2 + tasks.sizes * normal_means.SIGMA**-2
    total = torch.where(tasks.mask, tasks.y, 0.0).sum(1)
    mean = (post.theta["mu"][0, 0] * normal_means.TAU**-2 + total) / precision
    assert ((draws.mean(0) - mean) * precision.sqrt()).abs().max() < 4 / 4000**0.5
    assert (draws.std(0) * precision.sqrt() - 1).abs().max() < 4 / 8000**0.5


def cauchy(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Cauchy(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def funnel(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
        phi = pyro.sample("phi", dist.Normal(0.0, s))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def counts(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Gamma(0.5, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(phi), obs=tasks.y)


def beta_of_beta(tasks: bm.Tasks) -> None:
    """A parameter of a quantile depends on phi, in which there are second derivatives."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Beta(2.0, 2.0))
        phi = pyro.sample("phi", dist.Beta(1 + 6 * a, 7 - 6 * a))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(phi), obs=tasks.y)


def _outcome(model: Callable[[bm.Tasks], None], phi: torch.Tensor) -> dist.Distribution:
    if model is beta_of_beta:
        return dist.Bernoulli(phi)
    return dist.Poisson(phi) if model is counts else dist.Normal(phi, 1.0)


def _by_weights(model: Callable[[bm.Tasks], None], y: list[float]) -> np.ndarray:
    """Draws of phi given y, out of 400,000 of the prior by their likelihood."""
    pyro.set_rng_seed(0)
    many = bm.Tasks.from_arrays(torch.zeros(400_000, 1), mask=torch.zeros(400_000, 1).bool())
    trace = pyro.poutine.trace(model).get_trace(many)
    phi = trace.nodes["phi"]["value"][:, 0].double()
    outcome = _outcome(model, phi)
    log_w = sum((outcome.log_prob(torch.tensor(x)) for x in y), torch.zeros_like(phi))
    share = log_w.softmax(0).numpy()
    return np.random.default_rng(0).choice(phi.numpy(), 8000, p=share / share.sum())


@pytest.mark.parametrize("model", [cauchy, funnel, counts, beta_of_beta])
def test_heavy_tails_and_funnels_have_their_quantiles(model: Callable[[bm.Tasks], None]) -> None:
    """Without data it is the prior, of which chains in other coordinates had half the width."""
    rows = [[], [1.0], [1.0, 0.0]]
    tasks = bm.Tasks.from_list(rows)
    post = bm.fit(model, tasks, theta=bm.Fixed({}), phi=bm.HMC(draws=1000), progress=False)
    for i, y in enumerate(rows):
        found, right = post.phi["phi"][0, :, i].numpy(), _by_weights(model, y)
        assert stats.ks_2samp(found, right).pvalue > 1e-3
    assert not post.diagnose().messages[1:]


def hills(tasks: bm.Tasks) -> None:
    """A prior of two modes, whose normal scores are not known."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        both = dist.Normal(torch.tensor([-5.0, 3.0]), torch.tensor([0.5, 1.0]))
        phi = pyro.sample("phi", dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), both))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_without_data_a_prior_of_two_modes_has_both() -> None:
    tasks = bm.Tasks.from_list([[], [3.0, 2.5]], names=["empty", "full"])
    post = bm.fit(hills, tasks, theta=bm.Fixed({}), phi=bm.HMC(), progress=False)
    draws = post.phi["phi"][0, :, 0]
    assert ((draws < 0).double().mean() - 0.5).abs() < 0.06
    assert (draws[draws < 0].mean() + 5).abs() < 0.1
    # What a task gets does not depend on the others.
    alone = post.adapt(tasks.select([0]), seed=post.draws.seeds[2]).phi["phi"][0, :, 0]
    again = post.adapt(tasks, seed=post.draws.seeds[2]).phi["phi"][0, :, 0]
    assert torch.equal(alone, again)


@pytest.mark.parametrize("wrong", [{"draws": 0}, {"leapfrogs": 0}, {"step_size": 0.0}])
def test_settings_are_checked(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"HMC got {next(iter(wrong))}=0"):
        bm.HMC(**wrong)
