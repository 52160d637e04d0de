"""First and second derivatives of a function against finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Steps of the differences, in the size of what is moved, one for each try in another direction: so
# short that of a million rectified units hardly one changes sides, or longer, against rounding.
# What may be off, beside a derivative and beside all of them.
_STEPS, _OFF, _OFF_ALL = (1e-8, 1e-9, 1e-7, 1e-9), 1e-2, 1e-4
Function = Callable[[Sequence[Tensor]], Tensor]


def wrong_derivative(function: Function, point: Sequence[Tensor]) -> str | None:
    """What is wrong with the derivatives at a point, in several directions; None for nothing.

    Compared are a random sum of the outputs' sines and its gradient: the gradient along a
    direction with the sum's difference along it, and the gradient's derivative along it, by a
    second backward pass, with the gradient's difference.

    Args:
        function: of tensors like those of the point, differentiable twice.
        point: in float64.
    """
    if not point:
        return None
    found = ""
    for seed, step in enumerate(_STEPS):
        found = _at(function, point, step, torch.Generator().manual_seed(seed)) or ""
        if not found:
            return None
    return found


def _at(
    function: Function, point: Sequence[Tensor], step: float, noise: torch.Generator
) -> str | None:
    with torch.no_grad():
        first = function(point)
    if not first.numel() or not first.isfinite().all():
        return None
    scale, shares = first.abs().max().clamp(min=1e-30), _normal(first, noise)
    size = [x.abs().mean() + 1e-2 for x in point]
    toward = [s * _normal(x, noise) for s, x in zip(size, point, strict=True)]

    def value(at: Sequence[Tensor]) -> Tensor:
        return (shares * (function(at) / scale).sin()).sum()

    def slope(at: Sequence[Tensor], *, again: bool = False) -> tuple[list[Tensor], list[Tensor]]:
        given = [x.detach().requires_grad_() for x in at]
        # Of what is moved, in multiples of its size.
        result = torch.autograd.grad(
            value(given), given, create_graph=again, materialize_grads=True
        )
        return given, [s * g for s, g in zip(size, result, strict=True)]

    def beside(by: float) -> list[Tensor]:
        return [x + by * d for x, d in zip(point, toward, strict=True)]

    try:
        given, found = slope(point, again=True)
        along = [d / s for d, s in zip(toward, size, strict=True)]
        summed = _dot(found, along)
        bend = [torch.zeros_like(x) for x in point]
        if summed.requires_grad:
            parts = torch.autograd.grad(summed, given, materialize_grads=True)
            bend = [s * p for s, p in zip(size, parts, strict=True)]
    except (RuntimeError, NotImplementedError) as error:
        said = str(error).strip().split("\n")[0].rstrip(". ")
        return f"has no second derivative in torch ({type(error).__name__}: {said})"
    with torch.no_grad():
        difference = float(value(beside(step)) - value(beside(-step))) / (2 * step)
    mine, norm = summed.item(), float(_norm(found))
    if abs(mine - difference) > _OFF * abs(difference) + _OFF_ALL * norm + 1e-6:
        return (
            f"has a wrong first derivative: {mine:.4g}, by finite differences {difference:.4g}; "
            "what .detach() or torch.no_grad() holds in a forward is frozen by "
            "parameter.requires_grad_(False) instead"
        )
    ahead, behind = (slope(beside(k * step))[1] for k in (1, -1))
    expected = [(a - b) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    least = _OFF_ALL * (float(_norm(expected)) + norm) + 1e-6
    for bent, differed in zip(bend, expected, strict=True):
        off, size_of = float((bent - differed).norm()), float(differed.norm())
        if off > _OFF * size_of + least:
            return (
                "has a wrong second derivative: off by "
                f"{off / max(size_of, 1e-300):.0%} of that by finite differences"
            )
    return None


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype).to(like.device)


def _dot(one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other, strict=True)]).sum()


def _norm(parts: Sequence[Tensor]) -> Tensor:
    return _dot(parts, parts).detach().sqrt()
