"""Conjugate gradients against a direct solution, and on matrices that are not positive."""

from __future__ import annotations

import torch

from bayesmeta.engine.conjugate_gradients import conjugate_gradients


def systems(shift: float) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(4, 10, 10, dtype=torch.float64, generator=generator)
    right = torch.randn(4, 10, dtype=torch.float64, generator=generator)
    right[2] = 0.0
    return half @ half.mT + shift * torch.eye(10, dtype=torch.float64), right


def solve(matrix: torch.Tensor, right: torch.Tensor, steps: int) -> torch.Tensor:
    scale = matrix.diagonal(dim1=-2, dim2=-1).abs()
    return conjugate_gradients(
        lambda v: (matrix @ v[..., None])[..., 0],
        lambda v: v / scale,
        right,
        steps=steps,
        tolerance=1e-12,
    )


def test_solves_each_system_with_a_zero_side_among_them() -> None:
    matrix, right = systems(1.0)
    found = solve(matrix, right, 40)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, right))
    assert not torch.allclose(solve(matrix, right, 3), found, atol=1e-3)


def test_stops_at_negative_curvature_with_numbers() -> None:
    matrix, right = systems(-5.0)
    assert torch.isfinite(solve(matrix, right, 200)).all()
