"""The same data in other units give the same answer in other units, for every pair, or are loud."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import halfnorm, norm

import bayesmeta as bm
from bayesmeta.theta import gaussian, point

GROUPS, EACH = 12, 10
_RANDOM = np.random.default_rng(1)
# Incomes of twelve towns, in units of 50,000.
Y = 1 + 0.16 * _RANDOM.normal(size=(GROUPS, 1)) + 0.08 * _RANDOM.normal(size=(GROUPS, EACH))
NAMES = ("mu", "tau", "s")
# Small units run with the slow tests.
UNITS = [pytest.param(1e-6, marks=pytest.mark.slow), 1e6]
QUICK = bm.Adam(steps=500, compile=False)
LONG = bm.Adam(compile=False)


def towns(unit: float):
    """The model and its tasks in one unit."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2 * unit))
        tau = pyro.sample("tau", dist.HalfNormal(unit))
        s = pyro.sample("s", dist.HalfNormal(unit))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Normal(mu, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(a, s), obs=tasks.y)

    return model, bm.Tasks.from_arrays(unit * Y)


def log_posterior(mu, tau, s):
    """Up to a constant, a integrated out: of the means of groups, and of what is around them."""
    means, around = Y.mean(1), ((Y - Y.mean(1, keepdims=True)) ** 2).sum()
    spread = np.sqrt(tau**2 + s**2 / EACH)
    value = -GROUPS * (EACH - 1) * np.log(s) - around / (2 * s**2)
    value = value + sum(norm.logpdf(m, mu, spread) for m in means)
    return value + norm.logpdf(mu, 0, 2) + halfnorm.logpdf(tau) + halfnorm.logpdf(s)


def moments() -> tuple[np.ndarray, np.ndarray]:
    """Posterior means and sds of mu, tau and s by quadrature."""
    grid = np.meshgrid(
        np.linspace(0.8, 1.25, 91), np.linspace(0.01, 0.4, 120), np.linspace(0.05, 0.12, 71),
        indexing="ij",
    )  # fmt: skip
    value = log_posterior(*grid)
    weight = np.exp(value - value.max())
    weight /= weight.sum()
    mean = np.array([(weight * g).sum() for g in grid])
    return mean, np.sqrt([(weight * (g - m) ** 2).sum() for g, m in zip(grid, mean, strict=True)])


MEAN, SD = moments()


def fitted(unit: float, theta: bm.Theta, phi: bm.Phi) -> tuple[bm.Posterior, np.ndarray]:
    """The posterior, and the draws of mu, tau and s in units, (3, draws)."""
    post = bm.fit(*towns(unit), theta=theta, phi=phi, seed=0, progress=False)
    return post, np.stack([post.theta[n].double().flatten().numpy() / unit for n in NAMES])


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("phi", [bm.Exact(10), bm.Laplace(10)])
def test_the_best_theta_is_that_of_scipy(unit: float, phi: bm.Phi) -> None:
    best = minimize(lambda x: -log_posterior(x[0], *np.exp(x[1:])), [1.0, -2.0, -2.0], tol=1e-10)
    post, found = fitted(unit, bm.Point(), phi)
    right = [best.x[0], *np.exp(best.x[1:])]
    assert np.allclose(found[:, 0], right, rtol=1e-5)
    assert post.diagnose().ok


@pytest.mark.parametrize("phi", [bm.Joint(), bm.Mode()])
def test_a_point_with_points_of_phi_is_the_same_in_all_units(phi: bm.Phi) -> None:
    first, *others = (fitted(unit, bm.Point(), phi)[1] for unit in (1.0, 1e-6, 1e6))
    for other in others:
        assert np.allclose(other, first, rtol=1e-5)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("phi", [bm.Exact(10), bm.Joint()])
def test_adam_finds_the_best_theta_in_units_of_a_pilot(unit: float, phi: bm.Phi) -> None:
    adam = bm.Adam(steps=300, compile=False)
    trained = fitted(unit, bm.Point(adam=adam), phi)[1]
    solved = fitted(1.0, bm.Point(), phi)[1]
    assert np.allclose(trained, solved, rtol=0.01)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("phi", [bm.Exact(10), bm.Joint()])
@pytest.mark.parametrize(
    "family",
    [
        bm.FullRank(),
        pytest.param(bm.MeanField(), marks=pytest.mark.slow),
        pytest.param(bm.LowRank(2), marks=pytest.mark.slow),
    ],
)
def test_a_gaussian_is_near_the_posterior_in_all_units(
    unit: float, phi: bm.Phi, family: bm.FullRank | bm.MeanField | bm.LowRank
) -> None:
    found = fitted(unit, bm.Gaussian(family, adam=QUICK), phi)[1]
    assert (np.abs(found.mean(1) - MEAN) < 0.2 * SD).all()
    # A Gaussian is too sure where tails are heavy, of mu as of a t: by a fifth here.
    assert ((found.std(1) > 0.75 * SD) & (found.std(1) < 1.15 * SD)).all()


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("phi", [pytest.param(bm.Exact(10), marks=pytest.mark.slow), bm.Joint()])
def test_nuts_samples_in_all_units(unit: float, phi: bm.Phi) -> None:
    nuts = bm.NUTS(chains=1, tune=250, draws=400, compile=False)
    found = fitted(unit, nuts, phi)[1]
    assert (np.abs(found.mean(1) - MEAN) < 0.25 * SD).all()
    assert ((found.std(1) > 0.8 * SD) & (found.std(1) < 1.25 * SD)).all()


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-6, 1e6])
@pytest.mark.parametrize("phi", [bm.Laplace(10), bm.Mode()])
def test_nuts_of_theta_alone_samples_in_all_units(unit: float, phi: bm.Phi) -> None:
    nuts = bm.NUTS(chains=2, tune=150, draws=250, compile=False)
    found, plain = (fitted(u, nuts, phi)[1] for u in (unit, 1.0))
    sd = plain.std(1)
    assert (np.abs(found.mean(1) - plain.mean(1)) < 0.3 * sd).all()
    assert ((found.std(1) > 0.75 * sd) & (found.std(1) < 1.33 * sd)).all()
    if phi == bm.Laplace(10):
        assert (np.abs(found.mean(1) - MEAN) < 0.3 * SD).all()


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("phi", [bm.Laplace(10), bm.Amortised(draws=10)])
def test_slower_pairs_do_so_too(unit: float, phi: bm.Phi) -> None:
    found = fitted(unit, bm.Gaussian(adam=LONG), phi)[1]
    assert (np.abs(found.mean(1) - MEAN) < 0.2 * SD).all()
    assert ((found.std(1) > 0.75 * SD) & (found.std(1) < 1.15 * SD)).all()
    best = fitted(1.0, bm.Point(), bm.Exact(10))[1][:, 0]
    assert np.allclose(fitted(unit, bm.Point(), phi)[1][:, 0], best, rtol=0.05)


def test_without_the_pilot_it_is_wrong_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gaussian, point):
        monkeypatch.setattr(module, "find_pilot", lambda *given: None)
    for phi in (bm.Exact(10), bm.Joint()):
        post, found = fitted(1e6, bm.Gaussian(adam=QUICK), phi)
        assert (np.abs(found.mean(1) - MEAN) > 3 * SD).any()
        assert not post.diagnose().ok


def test_a_scale_at_zero_is_named() -> None:
    """Groups that are more alike than chance would have them: the best tau is 0."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 10.0))
        tau = pyro.sample("tau", dist.HalfNormal(5.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Normal(mu, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(a, 1.0), obs=tasks.y)

    alike = bm.Tasks.from_arrays([[-1.0, 1.0], [1.0, -1.0], [0.9, -0.9]])
    found = bm.fit(model, alike, theta=bm.Point(), phi=bm.Exact(), progress=False).diagnose()
    assert not found.ok
    assert "tau: the best value is at the edge" in " ".join(found.messages).replace("Tau", "tau")
    joint = bm.fit(model, alike, theta=bm.Point(), phi=bm.Joint(), progress=False).diagnose()
    assert not joint.ok and "no maximum" in " ".join(joint.messages)


@pytest.mark.parametrize("phi", [bm.Joint(), bm.Exact()])
def test_single_precision_and_tasks_of_several_sizes_train_as_double_precision(phi) -> None:
    """Few datapoints stand for all in double precision, units of a pilot among them."""
    model, _ = towns(1.0)
    rows = [y[: 3 + i % 4].tolist() for i, y in enumerate(Y)]
    tasks = bm.Tasks.from_list(rows).to(dtype=torch.float32)
    adam = bm.Adam(steps=400, compile=False)
    one, other = (
        bm.fit(model, t, theta=bm.Gaussian(adam=adam), phi=phi, progress=False)
        for t in (tasks, tasks.to(dtype=torch.float64))
    )
    for name in NAMES:
        a, b = (p.theta[name].double() for p in (one, other))
        assert abs(float((a.mean() - b.mean()) / b.std())) < 0.1
