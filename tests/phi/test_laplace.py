"""Laplace: exact where the model is linear-Gaussian, near quadrature elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.capturing.capture import capture
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import linear_regression, logistic_regression
from bayesmeta.task_level import corrected_draws
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.implicit_mode import ModeSolver, following_searches
from bayesmeta.theta.log_posterior import LogPosterior


def coin(tasks: bm.Tasks) -> None:
    """Log odds of each coin around a common one: one phi, so quadrature is an oracle."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=phi), obs=tasks.y)


COINS = bm.Tasks.from_list(
    [[1.0] * heads + [0.0] * (40 - heads) for heads in (4, 20, 31)] + [[1.0]]
).to(dtype=torch.float64)


def _density(model: object, tasks: bm.Tasks) -> Density:
    return Density(read(model, tasks))  # type: ignore[arg-type]


HEADS = torch.where(COINS.mask, COINS.y, 0.0).sum(1)


def _quadrature(mu: float, tau: float) -> Tensor:
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    phi = mu + tau * torch.from_numpy(nodes)
    heads, n = HEADS, COINS.sizes
    log_p = heads[:, None] * phi - n[:, None] * torch.nn.functional.softplus(phi)
    log_w = torch.from_numpy(weights).log() - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(log_p + log_w, 1)


def test_equals_exact_where_the_model_is_linear_gaussian() -> None:
    tasks = linear_regression.tasks(num_tasks=7, num_data=6, num_features=3)
    support, query = tasks.split(4, seed=0)
    density = _density(linear_regression.model, tasks)
    for given in (tasks, support.with_query(query)):
        theta = torch.linspace(-0.5, 0.8, density.d_theta, dtype=torch.float64).requires_grad_()
        laplace = bm.Laplace().log_evidence(density, theta, given)
        exact = bm.Exact().log_evidence(density, theta, given)
        torch.testing.assert_close(laplace, exact, rtol=1e-8, atol=1e-8)
        (slope,) = torch.autograd.grad(laplace.sum(), theta)
        (expected,) = torch.autograd.grad(exact.sum(), theta)
        torch.testing.assert_close(slope, expected, rtol=1e-7, atol=1e-7)


def test_near_quadrature_with_many_data_and_not_with_one() -> None:
    density = _density(coin, COINS)
    theta = torch.tensor([0.2, math.log(1.3)], dtype=torch.float64)
    found = bm.Laplace().log_evidence(density, theta, COINS)
    error = (found - _quadrature(0.2, 1.3)).abs()
    assert (error[:3] < 0.02).all()
    assert error[3] > 0.01


def test_importance_weights_mend_what_laplace_gets_wrong() -> None:
    """On the coin that was tossed once; one pair of particles cannot."""
    density = _density(coin, COINS)
    theta = torch.tensor([0.2, math.log(1.3)], dtype=torch.float64)
    plain, few, many = (
        (bm.Laplace(particles=k).log_evidence(density, theta, COINS) - _quadrature(0.2, 1.3)).abs()
        for k in (0, 2, 512)
    )
    assert (many < 1e-3).all() and plain[3] > 0.01
    assert few.max() > 5 * many.max()


def _slope_in_log_tau(particles: int) -> Tensor:
    """Of the evidence of tasks whose phi is skewed, at the theta that they were drawn from."""
    tasks = logistic_regression.tasks(num_tasks=200)
    density, truth = _density(logistic_regression.model, tasks), logistic_regression.truth()
    theta = torch.cat([truth["mu"], truth["tau"].log()]).requires_grad_()
    evidence = bm.Laplace(particles=particles).log_evidence(density, theta, tasks).sum()
    return torch.autograd.grad(evidence, theta)[0][5:]


def test_few_particles_take_most_of_the_bias_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slope in log tau is what moves the posterior of tau. Its errors with 16 particles are
    of either sign and a fraction of Laplace's, and of those of as many independent draws of
    N(0, I), which the library once used: a negative control."""
    exact = _slope_in_log_tau(1024)
    plain, few = (_slope_in_log_tau(k) - exact for k in (0, 16))

    def independent(count: int, tasks: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        half = np.random.default_rng(0).standard_normal((count // 2, tasks, size))
        return np.concatenate([half, -half]), np.full((count, tasks), -math.log(count))

    monkeypatch.setattr("bayesmeta.phi.laplace.normal_nodes", independent)
    drawn = _slope_in_log_tau(16) - exact
    assert (plain < -2).all()
    assert few.norm() < 0.2 * plain.norm() and few.norm() < 0.6 * drawn.norm()


@pytest.mark.slow
def test_nuts_finds_the_scales_that_joint_finds() -> None:
    """And with Laplace's method as it is, a negative control, smaller ones."""
    tasks = logistic_regression.tasks(num_tasks=50)

    def tau(phi: bm.Joint | bm.Laplace) -> Tensor:
        nuts = bm.NUTS(chains=2, tune=300, draws=1000)
        found = bm.fit(logistic_regression.model, tasks, theta=nuts, phi=phi, progress=False)
        return found.fit.theta[..., 5:].exp().flatten(0, 1)

    joint, mended, plain = map(tau, (bm.Joint(), bm.Laplace(particles=16), bm.Laplace()))
    weighted, gaussian = ((x.mean(0) - joint.mean(0)) / joint.std(0) for x in (mended, plain))
    # Each mean has a Monte Carlo error of some 0.04 sd, and that of the five less.
    assert weighted.abs().max() < 0.25 and weighted.mean().abs() < 0.1
    assert gaussian.mean() < -0.2


def test_importance_weights_change_nothing_where_laplace_is_exact() -> None:
    tasks = linear_regression.tasks(num_tasks=5, num_data=6, num_features=9)
    support, query = tasks.split(4, seed=0)
    given = support.with_query(query)
    density = _density(linear_regression.model, tasks)
    theta = torch.linspace(-0.5, 0.8, density.d_theta, dtype=torch.float64)
    weighted = bm.Laplace(particles=4).log_evidence(density, theta, given)
    exact = bm.Exact().log_evidence(density, theta, given)
    torch.testing.assert_close(weighted, exact, rtol=1e-7, atol=1e-7)


def test_a_scale_below_rounding_brings_no_evidence() -> None:
    """Else a chain that gets to tau = exp(-40) finds a mode there that does not exist."""
    density = _density(coin, COINS)
    far, further = (
        bm.Laplace(particles=8).log_evidence(density, torch.tensor([0.2, x]).double(), COINS)
        for x in (-12.0, -42.0)
    )
    torch.testing.assert_close(far, further, atol=1e-3, rtol=0)


def test_gradient_of_importance_weights_equals_finite_differences() -> None:
    tasks = logistic_regression.tasks(num_tasks=3, num_data=5, num_features=2)
    density = _density(logistic_regression.model, tasks)
    theta = torch.linspace(-0.5, 0.5, density.d_theta, dtype=torch.float64).requires_grad_()
    weighted = bm.Laplace(particles=4)
    assert torch.autograd.gradcheck(
        lambda t: weighted.log_evidence(density, t, tasks), (theta,), atol=1e-6
    )


def test_the_noise_stays_what_it_is_in_a_captured_graph() -> None:
    """Drawn anew at each evaluation, no sampler could follow the density."""
    density = _density(coin, COINS)
    theta = torch.tensor([0.2, math.log(1.3)], dtype=torch.float64)
    weighted = bm.Laplace(particles=2)

    def evidence(at: Tensor, *data: Tensor) -> tuple[Tensor]:
        return (weighted.log_evidence(density, at, COINS.with_tensors(data)),)

    graph = capture(evidence, [theta, *COINS.tensors()])
    expected = weighted.log_evidence(density, theta, COINS)
    for _ in range(2):
        torch.testing.assert_close(graph(theta, *COINS.tensors())[0], expected)


def test_particles_come_in_pairs() -> None:
    with pytest.raises(ValueError, match="particles=3; they come in pairs"):
        bm.Laplace(particles=3)


def test_gradient_equals_finite_differences() -> None:
    """Through the mode and the determinant: third derivatives of the density."""
    tasks = logistic_regression.tasks(num_tasks=4, num_data=6)
    density = _density(logistic_regression.model, tasks)
    theta = torch.linspace(-0.5, 0.5, density.d_theta, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: bm.Laplace().log_evidence(density, t, tasks), (theta,), atol=1e-6
    )


def test_holding_the_mode_still_gives_another_gradient() -> None:
    """A negative control: the determinant moves with theta through the mode too."""
    tasks = logistic_regression.tasks(num_tasks=4, num_data=6)
    density = _density(logistic_regression.model, tasks)
    theta = torch.linspace(-0.5, 0.5, density.d_theta, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(bm.Laplace().log_evidence(density, theta, tasks).sum(), theta)
    mode = bm.Mode().infer(density, theta[None].detach(), tasks, torch.Generator(), is_point=True)
    found = Hessian().expand(density, theta, mode[0], [tasks], jacobian=True)
    held = found.value - 0.5 * torch.logdet(found.precision.matrix)
    (wrong,) = torch.autograd.grad(held.sum(), theta)
    assert (slope - wrong).abs().max() > 1e-2


def _coin_draws() -> Tensor:
    density = _density(coin, COINS)
    theta = torch.tensor([0.2, math.log(1.3)], dtype=torch.float64)
    return bm.Laplace().infer(
        density, theta.expand(20_000, -1), COINS, torch.Generator().manual_seed(0), is_point=False
    )[..., 0]


def _assert_draws_of_the_posterior(draws: Tensor) -> None:
    """Mean and sd by quadrature, to a fiftieth of an sd."""
    grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64)[:, None]
    log_p = HEADS * grid - COINS.sizes * torch.nn.functional.softplus(grid)
    share = (log_p - 0.5 * ((grid - 0.2) / 1.3) ** 2).softmax(0)
    mean = (share * grid).sum(0)
    sd = (share * (grid - mean) ** 2).sum(0).sqrt()
    assert ((draws.mean(0) - mean).abs() < 0.04 * sd).all()
    assert ((draws.std(0) / sd - 1).abs() < 0.04).all()


def test_draws_are_those_of_the_posterior() -> None:
    _assert_draws_of_the_posterior(_coin_draws())


def test_without_weights_draws_are_the_gaussian_at_the_mode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The negative control of the test above."""
    monkeypatch.setattr(corrected_draws, "are_normal", lambda *given: torch.tensor(True))
    draws, heads, n = _coin_draws(), HEADS, COINS.sizes
    mode = draws.mean(0)
    for _ in range(500):
        # The curvature is at most n / 4 + 1 / tau^2, so that no such step goes too far.
        slope = heads - n * torch.sigmoid(mode) - (mode - 0.2) / 1.3**2
        mode = mode + slope / (n / 4 + 1 / 1.3**2)
    sd = (n * torch.sigmoid(mode) * torch.sigmoid(-mode) + 1 / 1.3**2).rsqrt()
    assert ((draws.mean(0) - mode).abs() < 4.5 * sd / math.sqrt(20_000)).all()
    assert ((draws.std(0) / sd - 1).abs() < 0.03).all()
    with pytest.raises(AssertionError):
        _assert_draws_of_the_posterior(draws)


def test_a_search_that_breaks_off_leaves_the_next_to_start_afresh() -> None:
    tasks = logistic_regression.tasks().to(dtype=torch.float64)
    density = Density(read(logistic_regression.model, tasks))
    target = LogPosterior(density, bm.Laplace(), tasks, jacobian=True)
    (solver,) = (x for x in density.solvers.values() if isinstance(x, ModeSolver))
    at = torch.zeros(1, density.d_theta, dtype=torch.float64)

    def broken_off() -> None:
        with following_searches(target._graph):
            target.slopes(at)
            assert solver._last is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_off()
    target.slopes(at)
    assert solver._last is None
