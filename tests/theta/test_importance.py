"""Importance draws of theta: exact where quadrature is, and loud where their weights fail."""

from __future__ import annotations

from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.engine.split_t import SplitT
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import eight_schools
from bayesmeta.theta.log_posterior import LogPosterior


def by_quadrature() -> tuple[Tensor, Tensor]:
    """Means and sds of mu and tau given the eight schools."""
    density = Density(read(eight_schools.model, eight_schools.tasks()))
    target = LogPosterior(density, bm.Exact(), eight_schools.tasks(), jacobian=True)
    mu = torch.linspace(-25, 30, 201, dtype=torch.float64)
    log_tau = torch.linspace(-12, 5, 401, dtype=torch.float64)
    points = torch.cartesian_prod(mu, log_tau)
    weights = torch.cat([target.values(part) for part in points.split(20_000)]).softmax(0)
    values = torch.stack([points[:, 0], points[:, 1].exp()], 1)
    mean = weights @ values
    return mean, (weights @ (values - mean).square()).sqrt()


def test_eight_schools_are_those_of_quadrature() -> None:
    mean, sd = by_quadrature()
    post = bm.fit(
        eight_schools.model,
        eight_schools.tasks(),
        theta=bm.Importance(draws=20_000),
        phi=bm.Exact(),
        progress=False,
    )
    draws = torch.stack([post.theta["mu"].flatten(), post.theta["tau"].flatten()], 1)
    assert draws.shape == (20_000, 2)
    assert ((draws.mean(0) - mean).abs() < 0.02 * sd).all()
    assert (draws.std(0) / sd - 1).abs().max() < 0.03
    told = post.diagnose()
    assert told.ok and told.pareto_k_theta is not None and told.pareto_k_theta < 0.7
    assert "effective size" in post.fit.notes[0]


def two_places(tasks: bm.Tasks) -> None:
    """theta and -theta say the same of the data."""
    theta = pyro.sample("theta", dist.Normal(0.3, 3.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(theta**2, 0.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_of_two_modes_both_have_draws() -> None:
    y = 4 + torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    tasks = bm.Tasks.from_arrays(y)
    post = bm.fit(two_places, tasks, theta=bm.Importance(), phi=bm.Exact(), progress=False)
    theta = post.theta["theta"].flatten()
    # By the prior alone, exp(-(2 + .3)^2 / 18) of the one on the left.
    above = float((theta > 0).double().mean())
    assert above == pytest.approx(1 / (1 + 2.718 ** (-4 * 2 * 0.3 / 18)), abs=0.03)
    assert theta.abs().std() < 0.1


def far_from_a_t(tasks: bm.Tasks) -> None:
    """Twelve thetas in a funnel, of which the data say nothing."""
    width = pyro.sample("width", dist.Normal(0.0, 3.0))
    theta = pyro.sample("theta", dist.Normal(torch.zeros(12), width.exp()).to_event(1))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.001 * theta.sum(-1).tanh(), 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_a_funnel_without_a_mode_is_refused() -> None:
    tasks = bm.Tasks.from_arrays(torch.zeros(3, 4))
    how = {"theta": bm.Importance(draws=500), "phi": bm.Exact(), "progress": False}
    with pytest.raises(bm.TrainingError, match=r"found none.*theta=bm\.NUTS\(\)"):
        bm.fit(far_from_a_t, tasks, **how)


def test_weights_that_are_not_to_be_trusted_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SplitT.at_mode

    def too_narrow(*given: Tensor) -> SplitT:
        found = right(*given)
        return replace(found, up=0.1 * found.up, down=0.1 * found.down)

    monkeypatch.setattr(SplitT, "at_mode", too_narrow)
    how = {"theta": bm.Importance(rounds=1), "phi": bm.Exact(), "progress": False}
    told = bm.fit(eight_schools.model, eight_schools.tasks(), **how).diagnose()
    assert not told.ok and "Pareto k of theta" in str(told) and "theta=bm.NUTS()" in str(told)


def test_a_second_round_mends_a_poor_proposal(monkeypatch: pytest.MonkeyPatch) -> None:
    right = SplitT.at_mode

    def too_far(*given: Tensor) -> SplitT:
        found = right(*given)
        return replace(found, centre=found.centre + 2 * found.axes.sum(1))

    monkeypatch.setattr(SplitT, "at_mode", too_far)
    how = {"theta": bm.Importance(), "phi": bm.Exact(), "progress": False}
    post = bm.fit(eight_schools.model, eight_schools.tasks(), **how)
    mean, sd = by_quadrature()
    assert "in 1 round" not in post.fit.notes[0] and post.diagnose().ok
    assert abs(float(post.theta["mu"].mean() - mean[0])) < 0.06 * sd[0]


def test_phi_that_cannot_be_integrated_out_is_refused() -> None:
    tasks = eight_schools.tasks()
    for phi in (bm.Joint(), bm.GradientSteps(), bm.Amortised()):
        with pytest.raises(ValueError, match=r"theta=bm\.Importance\(\) was given.*bm\.Exact"):
            bm.fit(eight_schools.model, tasks, theta=bm.Importance(), phi=phi, progress=False)
    with pytest.raises(ValueError, match="at least 100"):
        bm.Importance(draws=10)


def test_it_is_saved_with_what_it_says_of_itself(tmp_path) -> None:
    tasks = eight_schools.tasks()
    how = {"theta": bm.Importance(draws=500), "phi": bm.Laplace(), "progress": False}
    post = bm.fit(eight_schools.model, tasks, **how)
    post.save(tmp_path / "post")
    again = bm.load(tmp_path / "post", eight_schools.model)
    assert str(again.diagnose()) == str(post.diagnose())
    assert torch.equal(again.theta["mu"], post.theta["mu"])
