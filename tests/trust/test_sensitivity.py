"""sensitivity: against refits in which the factor really has the power, and against ArviZ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import bayesmeta as bm
from bayesmeta.models import normal_means
from bayesmeta.posterior import arviz as conversion
from bayesmeta.trust.power_scaling import distances

POWERS = (0.8, 1.25)


def hierarchy(
    centre: float = 0.0, scale: float = 2.0, tau: float = 1.0
) -> Callable[[bm.Tasks], None]:
    """Normal means, of which the population's mean and spread are not known."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(centre, scale))
        spread = pyro.sample("tau", dist.HalfNormal(tau))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, spread))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    return model


@pytest.fixture(scope="module")
def tasks() -> bm.Tasks:
    """Six tasks of four datapoints around 3, with an sd of 2 between them."""
    generator = torch.Generator().manual_seed(5)
    phi = 3 + 2 * torch.randn(6, 1, generator=generator).double()
    return bm.Tasks.from_arrays(phi + torch.randn(6, 4, generator=generator).double())


def fitted(
    model: Callable[[bm.Tasks], None], tasks: bm.Tasks, draws: int = 2000, seed: int = 0
) -> bm.Posterior:
    theta = bm.Importance(draws=draws)
    return bm.fit(model, tasks, theta=theta, phi=bm.Exact(), seed=seed, progress=False)


@pytest.fixture(scope="module")
def post(tasks: bm.Tasks) -> bm.Posterior:
    return fitted(hierarchy(), tasks)


@pytest.fixture(scope="module")
def found(post: bm.Posterior) -> bm.Sensitivity:
    return bm.sensitivity(post)


def by_quadrature(tasks: bm.Tasks, power: float) -> dict[str, tuple[float, float]]:
    """Mean and sd of mu and tau of `hierarchy()` with p(theta) raised to a power."""
    assert tasks.y is not None
    mu, tau = np.linspace(-4, 10, 600)[:, None, None], np.linspace(1e-4, 6, 600)[:, None]
    mean, noise = tasks.y.mean(1).numpy(), 1 / tasks.num_data
    evidence = stats.norm(mu, np.sqrt(tau**2 + noise)).logpdf(mean).sum(-1)
    prior = stats.norm(0, 2).logpdf(mu[..., 0]) + stats.halfnorm.logpdf(tau[:, 0])
    weights = np.exp(evidence + power * prior - (evidence + power * prior).max())
    weights /= weights.sum()
    found = {}
    for name, x in (("mu", mu[..., 0]), ("tau", tau[:, 0])):
        at = float((weights * x).sum())
        found[name] = at, float((weights * (x - at) ** 2).sum()) ** 0.5
    return found


def test_the_hyperprior_has_the_power_that_it_would_have_in_a_refit(tasks: bm.Tasks) -> None:
    found = bm.sensitivity(fitted(hierarchy(), tasks, 20_000)).moments
    moments, plain = found.xs("hyperprior", level="role"), by_quadrature(tasks, 1.0)
    for power in POWERS:
        refit = by_quadrature(tasks, power)
        for name in ("mu", "tau"):
            row, sd = moments.loc[name], plain[name][1]
            for k, figure in enumerate(("mean", "sd")):
                shift, right = (
                    row[figure, power] - row[figure, 1.0],
                    refit[name][k] - plain[name][k],
                )
                # A tenth of the shift, and what 20,000 draws are off by.
                assert shift == pytest.approx(right, abs=0.1 * abs(right) + 0.002 * sd)
                assert abs(right) > 0.02 * sd  # The control: that nothing moved would be seen.


@pytest.fixture(scope="module")
def known() -> tuple[bm.Tasks, bm.Sensitivity]:
    """Tasks of known spreads away from the prior's mean."""
    tasks = normal_means.tasks(num_tasks=4, num_data=2)
    assert tasks.y is not None
    tasks = replace(tasks, y=tasks.y + 8)
    return tasks, bm.sensitivity(fitted(normal_means.model, tasks, 20_000))


@pytest.mark.parametrize("role", ["hyperprior", "population", "likelihood", "evidence"])
def test_each_factor_is_the_one_that_it_is_said_to_be(
    role: str, known: tuple[bm.Tasks, bm.Sensitivity], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With known spreads each has a closed form: its normal's sd less by sqrt(power)."""
    tasks, moments = known[0], known[1].moments
    constant = {"hyperprior": "MU_SD", "population": "TAU", "likelihood": "SIGMA"}.get(role)
    plain = normal_means.exact(tasks)
    for power in POWERS:
        if constant is None:
            # All of what tasks say of mu is a normal, whose precision has the power for a factor.
            prior, whole = 1 / normal_means.MU_SD**2, 1 / plain.covariance[0, 0]
            precision = prior + power * (whole - prior)
            mean, variance = power * whole * plain.mean[0] / precision, 1 / precision
        else:
            with monkeypatch.context() as patch:
                patch.setattr(normal_means, constant, getattr(normal_means, constant) / power**0.5)
                moved = normal_means.exact(tasks)
            mean, variance = moved.mean[0], moved.covariance[0, 0]
        row, sd = moments.loc[("mu", role)], float(plain.sd[0])
        # How far it moves, which depends less on the draws than where it is.
        moved = row["mean", power] - row["mean", 1.0], row["sd", power] - row["sd", 1.0]
        right = float(mean - plain.mean[0]), float(variance**0.5 - plain.sd[0])
        assert moved == pytest.approx(right, abs=0.015 * sd)
        # The control: with the other power it moves the other way.
        assert abs(moved[0] + right[0]) > 0.015 * sd


def test_the_figures_are_those_of_arviz_0(post: bm.Posterior, found: bm.Sensitivity) -> None:
    az = conversion.classic()
    if az is None:
        pytest.skip("no ArviZ before 1.0 is installed")
    data = post.to_arviz()
    names = ["mu", "tau"]
    for role, component, sites in (
        ("hyperprior", "prior", names),
        ("population", "prior", ["phi"]),
        ("likelihood", "likelihood", None),
    ):
        theirs = az.psens(
            data, component=component, component_var_names=sites, var_names=names, delta=0.25
        )
        for name in names:
            if role in found.doubtful:
                continue
            assert found.table.loc[name, role] == pytest.approx(float(theirs[name]), rel=1e-6)


def test_the_figures_are_about_those_of_arviz_1(post: bm.Posterior, found: bm.Sensitivity) -> None:
    """It smooths both tails of the weights, and differs in the third decimal."""
    arviz_stats = pytest.importorskip("arviz_stats")
    tree = conversion.to_datatree(conversion.groups(post.draws))
    names = ["mu", "tau"]
    for role, group, sites in (("hyperprior", "prior", names), ("likelihood", "likelihood", None)):
        theirs = arviz_stats.psense(tree, names, group=group, alphas=POWERS, group_var_names=sites)
        for name in names:
            assert found.table.loc[name, role] == pytest.approx(float(theirs[name]), abs=0.003)


def test_a_prior_far_from_the_data_is_a_conflict_and_a_wide_one_is_nothing(
    tasks: bm.Tasks, found: bm.Sensitivity
) -> None:
    far = bm.sensitivity(fitted(hierarchy(centre=-4.0, scale=1.0), tasks))
    assert far.table.loc["mu", "diagnosis"] == "prior-data conflict"
    assert "mu" in str(far) and "pulls away" in str(far)
    wide = bm.sensitivity(fitted(hierarchy(scale=50.0, tau=20.0), tasks))
    assert (wide.table["diagnosis"] == "").all() and wide.table["hyperprior"].max() < 0.03
    assert "None of 3 numbers" in str(wide)
    assert found.table.loc["tau", "evidence"] > 0.05


def test_what_tasks_do_not_tell_is_said_to_be_the_priors() -> None:
    tasks = bm.Tasks.from_list([[0.3], []])
    weak = bm.sensitivity(fitted(hierarchy(scale=0.1, tau=0.1), tasks))
    assert weak.table.loc["mu", "diagnosis"] == "strong prior / weak likelihood"
    assert "report the prior" in str(weak)


def test_the_answer_is_of_the_model_and_not_of_the_pair(
    tasks: bm.Tasks, found: bm.Sensitivity
) -> None:
    other = bm.fit(
        hierarchy(), tasks, theta=bm.Importance(draws=2000, rounds=3), phi=bm.Laplace(particles=16),
        seed=1, progress=False,
    )  # fmt: skip
    both = bm.sensitivity(other).table
    for role in ("hyperprior", "evidence", "likelihood"):
        np.testing.assert_allclose(both[role], found.table[role], atol=0.03)


def test_distances_are_between_nothing_and_one() -> None:
    x = torch.linspace(0, 1, 400, dtype=torch.float64)[:, None]
    even = torch.full((400,), 1 / 400, dtype=torch.float64)
    assert float(distances(x, even)) < 1e-6
    last = torch.zeros(400, dtype=torch.float64)
    last[-1] = 1
    assert 0.5 < float(distances(x, last)) <= 1
    torch.testing.assert_close(distances(7 - 3 * x, last.flip(0)), distances(x, last.flip(0)))
    assert float(distances(torch.zeros(400, 1).double(), last)) == 0


def test_few_draws_are_said_to_be_few(tasks: bm.Tasks, tmp_path: Path) -> None:
    found = bm.sensitivity(fitted(hierarchy(centre=-4.0, scale=0.5), tasks, 100), alpha=4.0)
    assert found.doubtful and "Draws are too few" in str(found)
    path = tmp_path / "moved.png"
    found.draw(path)
    assert path.stat().st_size > 1000


def test_what_cannot_be_scaled_is_refused(tasks: bm.Tasks, post: bm.Posterior) -> None:
    def flat(tasks: bm.Tasks) -> None:
        mu = pyro.param("mu", lambda: torch.zeros(()))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    def of(model: Callable[[bm.Tasks], None], theta: bm.Theta, phi: bm.Phi) -> bm.Posterior:
        return bm.fit(model, tasks, theta=theta, phi=phi, progress=False)

    point = of(hierarchy(), bm.Point(), bm.Exact())
    moded = of(hierarchy(), bm.Importance(draws=100), bm.Mode())
    for given, message in (
        (point, "theta is a point estimate"),
        (moded, r"phi=bm.Mode\(\) gives a point"),
        (of(flat, bm.Point(), bm.Exact()), "none with a prior"),
    ):
        with pytest.raises(bm.StructureError, match=message):
            bm.sensitivity(given)
    new = replace(tasks, names=tuple("abcdef"), origin=None)
    with pytest.raises(bm.TasksError, match="other tasks than theta"):
        bm.sensitivity(post.adapt(new.select([0, 1])))
    with pytest.raises(bm.TasksError, match="without the data"):
        bm.sensitivity(bm.prior(hierarchy(), tasks, draws=10))
    with pytest.raises(ValueError, match=r"alpha=1\.0; give a finite number above 1"):
        bm.sensitivity(post, alpha=1.0)
