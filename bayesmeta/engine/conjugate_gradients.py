"""Conjugate gradients for many symmetric systems at once, by products alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Linear = Callable[[Tensor], Tensor]


def conjugate_gradients(
    product: Linear, precondition: Linear, right: Tensor, *, steps: int, tolerance: float
) -> Tensor:
    """x with A x = right, for each system (..., d) apart (Hestenes & Stiefel 1952).

    A system stops once its residual is below tolerance times its right side, and where it meets
    a direction along which A is not positive.

    Args:
        product: v to A v.
        precondition: v to M^{-1} v, for an M near A.
        right: the right sides, of shape (..., d).
        steps: at most this many.
        tolerance: of the residual.
    """
    x = torch.zeros_like(right)
    residual = right
    ahead = precondition(residual)
    direction, height = ahead, _dot(residual, ahead)
    goal = tolerance**2 * _dot(right, right)
    goes_on = torch.ones_like(goal, dtype=torch.bool)
    for _ in range(steps):
        turned = product(direction)
        bend = _dot(direction, turned)
        goes_on = goes_on & (bend > 0) & (_dot(residual, residual) > goal)
        if not goes_on.any():
            break
        length = torch.where(goes_on, height / bend, 0.0)[..., None]
        x = x + length * direction
        residual = residual - length * turned
        ahead = precondition(residual)
        new = _dot(residual, ahead)
        direction = ahead + torch.where(goes_on, new / height, 0.0)[..., None] * direction
        height = new
    return x


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
