"""Levenberg and Marquardt's search: each task goes its own way, whoever is beside it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_start
from bayesmeta.model.reading import read
from bayesmeta.task_level.ascent import approach, modes
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.curvature import log_density, slope
from bayesmeta.task_level.implicit_mode import solver_of
from tests.task_level.test_gauss_newton import network

GENERATOR = torch.Generator().manual_seed(1)
X = torch.randn(7, 4, 2, dtype=torch.float64, generator=GENERATOR)
# Tasks of very different difficulty, which take 5 to 20 steps.
Y = torch.randn(7, 4, dtype=torch.float64, generator=GENERATOR) * torch.logspace(-1, 1, 7)[:, None]
TASKS = bm.Tasks.from_arrays(Y, {"x": X})
DENSITY = Density(read(network(), TASKS))
THETA = theta_start(DENSITY, TASKS)[None]


def graphs(count: int, density: Density = DENSITY, tasks: bm.Tasks = TASKS) -> Conditional:
    some = tasks.select(torch.arange(count))
    return Conditional(density, some, jacobian=False, curvature=bm.GaussNewton())


def gradient(phi: Tensor) -> Tensor:
    return slope(DENSITY, THETA[0], phi[0], [TASKS], jacobian=False)[1]


@pytest.mark.parametrize("slots", [1, 2, 3, 7])
def test_modes_do_not_depend_on_how_many_are_sought_together(slots: int) -> None:
    found = approach(graphs(slots), THETA, TASKS.tensors())
    assert gradient(found).abs().max() < 1e-4
    torch.testing.assert_close(found, approach(graphs(7), THETA, TASKS.tensors()))
    few = approach(graphs(slots), THETA, TASKS.tensors(), steps=2)
    assert gradient(few).abs().max() > 1e-2  # Negative control: two steps do not arrive.
    torch.testing.assert_close(few, approach(graphs(7), THETA, TASKS.tensors(), steps=2))


def test_no_step_goes_down() -> None:
    heights = torch.stack(
        [
            log_density(DENSITY, THETA[0], phi[0], [TASKS], jacobian=False)
            for phi in (approach(graphs(7), THETA, TASKS.tensors(), steps=k) for k in range(1, 7))
        ]
    )
    assert (heights.diff(dim=0) >= 0).all() and (heights[-1] > heights[0]).any()


def test_parts_of_one_size_have_the_modes_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bm.Mode(bm.GaussNewton()).infer(DENSITY, THETA, TASKS, GENERATOR, is_point=True)
    # Three tasks at once: the last part is filled up.
    monkeypatch.setattr("bayesmeta.task_level.ascent._NUMBERS_AT_ONCE", 3 * 4 * DENSITY.d_phi)
    parts = list(modes(DENSITY, THETA, TASKS, bm.GaussNewton(), jacobian=False))
    assert [len(part) for part, _, _ in parts] == [3, 3, 1]
    torch.testing.assert_close(torch.cat([mode.phi for _, _, mode in parts], 1), whole)
    for part, _, mode in parts:
        own = bm.GaussNewton().expand(
            DENSITY, THETA[0], mode.phi[0], [TASKS.select(part)], jacobian=False
        )
        for one, other in zip(mode.precision.tensors(), own.precision.tensors(), strict=True):
            torch.testing.assert_close(one[0], other.detach())


def test_float32_takes_two_steps_in_training_and_all_of_them_to_adapt() -> None:
    tasks = TASKS.to(dtype=torch.float32)
    density = Density(read(network(), tasks))
    theta, data = THETA.float(), tasks.tensors()
    solver = solver_of(density, tasks, bm.GaussNewton(), jacobian=False, with_query=False)
    two, _ = solver.find(theta, data)
    torch.testing.assert_close(two, approach(graphs(7, density, tasks), theta, data, steps=2))
    exact = approach(graphs(7), THETA, TASKS.tensors()).float()
    adapted = bm.Mode(bm.GaussNewton()).infer(density, theta, tasks, GENERATOR, is_point=True)
    assert (adapted - exact).abs().max() < 0.05 < (two - exact).abs().max()


def test_after_few_steps_the_gradient_takes_gauss_newton_for_the_hessian() -> None:
    """For phi_i ~ N(theta, s^2): that of log p(D_i | phi_i), times A^{-1} / s^2."""
    theta = THETA[0].clone().requires_grad_()
    curvature = bm.GaussNewton(steps=2)
    solver = solver_of(DENSITY, TASKS, curvature, jacobian=False, with_query=False)
    phi = solver(theta, TASKS)
    (found,) = torch.autograd.grad(DENSITY.log_likelihood(theta, phi, TASKS).sum(), theta)
    at = phi.detach().requires_grad_()
    (score,) = torch.autograd.grad(DENSITY.log_likelihood(THETA[0], at, TASKS).sum(), at)
    precision = curvature.expand(DENSITY, THETA[0], at, [TASKS], jacobian=False).precision
    torch.testing.assert_close(found, precision.solve(score)[0].sum(0) / 0.3**2)
    exact = bm.Hessian().expand(DENSITY, THETA[0], at, [TASKS], jacobian=False).precision
    assert not torch.allclose(found, exact.solve(score)[0].sum(0) / 0.3**2, rtol=1e-2)


def test_laplaces_evidence_is_that_of_the_dense_matrix_at_the_mode() -> None:
    found = bm.Laplace(curvature=bm.GaussNewton()).log_evidence(DENSITY, THETA[0], TASKS)
    mode = approach(graphs(7), THETA, TASKS.tensors())[0]
    at = bm.GaussNewton().expand(DENSITY, THETA[0], mode, [TASKS], jacobian=True)
    volume = mode.shape[1] * math.log(2 * math.pi) - torch.logdet(at.precision.dense().matrix)
    torch.testing.assert_close(found, at.value + 0.5 * volume)


@pytest.mark.parametrize("steps", [0, True, 1.5])
def test_steps_are_a_whole_number(steps: object) -> None:
    with pytest.raises((ValueError, TypeError), match="steps"):
        bm.GaussNewton(steps=steps)  # type: ignore[arg-type]
