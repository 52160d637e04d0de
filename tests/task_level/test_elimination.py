"""Small systems solved at once agree with LAPACK, and gradients pass through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bayesmeta.task_level.elimination import solve, whitened


def _positive(tasks: int, size: int) -> Tensor:
    generator = torch.Generator().manual_seed(size)
    root = torch.randn(tasks, size, size, dtype=torch.float64, generator=generator)
    return root @ root.mT + torch.eye(size, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2, 5, 8, 9, 20])
def test_agrees_with_lapack(size: int) -> None:
    matrix, vector = _positive(7, size), torch.linspace(-1, 1, 7 * size, dtype=torch.float64)
    vector = vector.reshape(7, size)
    solution, log_det = solve(matrix, vector)
    expected = torch.linalg.solve(matrix, vector)
    torch.testing.assert_close(solution, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(log_det, torch.logdet(matrix), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [3, 9])
def test_gradients(size: int) -> None:
    matrix = _positive(2, size).requires_grad_()
    vector = torch.ones(2, size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda m, v: solve((m + m.mT) / 2, v), (matrix, vector), fast_mode=True
    )


@pytest.mark.parametrize("size", [3, 9])
def test_an_indefinite_matrix_gives_nan_for_its_task_alone(size: int) -> None:
    matrix = _positive(2, size)
    matrix[1, 0, 0] = -1.0
    solution, log_det = solve(matrix, torch.ones(2, size, dtype=torch.float64))
    assert torch.isfinite(solution[0]).all() and torch.isfinite(log_det[0])
    assert torch.isnan(solution[1]).any() and torch.isnan(log_det[1])


@pytest.mark.parametrize("size", [1, 5, 9])
def test_white_noise_gets_the_inverse_for_covariance(size: int) -> None:
    """With columns of the identity for noise, x x' summed is the inverse of A."""
    matrix = _positive(1, size).expand(size, -1, -1)
    x = whitened(matrix, torch.eye(size, dtype=torch.float64))
    torch.testing.assert_close(x.mT @ x, torch.linalg.inv(matrix[0]), rtol=1e-10, atol=1e-10)


def test_no_unknowns() -> None:
    assert whitened(torch.zeros(4, 0, 0), torch.zeros(4, 0)).shape == (4, 0)
    solution, log_det = solve(torch.zeros(4, 0, 0), torch.zeros(4, 0))
    assert solution.shape == (4, 0) and torch.equal(log_det, torch.zeros(4))
