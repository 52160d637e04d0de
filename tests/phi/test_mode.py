"""Mode: the maximum of phi, and the gradient through it without the steps that found it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.engine.native import why_unavailable
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean
from bayesmeta.model.reading import read
from bayesmeta.models import logistic_regression, normal_means
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.implicit_mode import solver_of

LOGISTIC = logistic_regression.tasks(num_tasks=6, num_data=8)


@pytest.fixture(scope="module")
def density() -> Density:
    model = logistic_regression.model
    return Density(read(model, LOGISTIC))


def _theta(density: Density) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return 0.5 * torch.randn(density.d_theta, dtype=torch.float64, generator=generator)


def _ascent(density: Density, theta: Tensor, steps: int, lr: float) -> Tensor:
    """The mode by many differentiated steps of plain gradient ascent."""
    phi = prior_mean(density, theta, LOGISTIC)
    for _ in range(steps):
        terms = density.terms(theta, phi, LOGISTIC, jacobian=False)
        (slope,) = torch.autograd.grad((terms.phi + terms.data).sum(), phi, create_graph=True)
        phi = phi + lr * slope
    return phi


def _unrolled(density: Density, theta: Tensor, steps: int) -> Tensor:
    """The gradient in theta through all the steps."""
    phi = _ascent(density, theta, steps, lr=0.15)
    return torch.autograd.grad(density.terms(theta, phi, LOGISTIC).data.sum(), theta)[0]


def test_implicit_gradient_is_that_of_unrolled_steps(density: Density) -> None:
    theta = _theta(density).requires_grad_()
    (implicit,) = torch.autograd.grad(bm.Mode().log_evidence(density, theta, LOGISTIC).sum(), theta)
    assert (implicit - _unrolled(density, theta, 200)).abs().max() < 1e-4 * implicit.abs().max()
    assert (implicit - _unrolled(density, theta, 5)).abs().max() > 1e-2 * implicit.abs().max()


def test_gradient_equals_finite_differences(density: Density) -> None:
    theta = _theta(density).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: bm.Mode().log_evidence(density, t, LOGISTIC), (theta,), atol=1e-6
    )


def test_mode_of_a_gaussian_is_its_mean() -> None:
    tasks = normal_means.tasks(num_tasks=5, num_data=3, seed=1)
    post = bm.fit(
        normal_means.model,
        tasks,
        theta=bm.Point(adam=bm.Adam(steps=50, compile=False)),
        phi=bm.Mode(),
        progress=False,
    )
    exact = bm.Exact(draws=1).infer(
        post.density, post.fit.theta[0], tasks, torch.Generator().manual_seed(0), is_point=True
    )
    assert exact.shape == (1, 5, 1)
    mu, n = post.theta["mu"], tasks.sizes
    total = torch.where(tasks.mask, tasks.y, 0.0).sum(1)
    precision = 1 / normal_means.TAU**2 + n / normal_means.SIGMA**2
    expected = (mu / normal_means.TAU**2 + total / normal_means.SIGMA**2) / precision
    torch.testing.assert_close(post.phi["phi"][0, 0], expected[0], rtol=1e-10, atol=1e-10)


def test_the_query_scores_and_the_support_decides(density: Density) -> None:
    support, query = LOGISTIC.split(5, seed=1)
    theta = _theta(density)
    found = bm.Mode().log_evidence(density, theta, support.with_query(query))
    (mode,) = bm.Mode().infer(density, theta[None], support, torch.Generator(), is_point=True)
    torch.testing.assert_close(found, density.terms(theta, mode, query).data)


@pytest.mark.slow
@pytest.mark.skipif(why_unavailable() is not None, reason="no C++ compiler is here")
def test_a_compiled_search_finds_the_same_modes(density: Density) -> None:
    solver = solver_of(density, LOGISTIC, Hessian(), jacobian=True, with_query=False)
    theta = _theta(density)[None]
    plain = solver.find(theta, LOGISTIC.tensors())[0]
    solver.compile()
    torch.testing.assert_close(
        solver.find(theta, LOGISTIC.tensors())[0], plain, rtol=1e-9, atol=1e-9
    )
    # Several draws at once go the way that they went.
    both = solver.find(theta.expand(2, -1), LOGISTIC.tensors())[0]
    torch.testing.assert_close(both[1], plain[0], rtol=1e-9, atol=1e-9)
