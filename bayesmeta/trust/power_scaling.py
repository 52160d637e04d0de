"""Draws under a density one factor of which has a power: weights, and how far numbers move."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.task_level.importance import pareto_k, smoothed


@dataclass(frozen=True)
class Scaled:
    """Numbers under p^alpha and p^(1 / alpha) in the place of p.

    Attributes:
        gradient: of the distance between distributions, by number, (numbers,).
        mean, sd: by power, 1 / alpha, 1 and alpha, (3, numbers).
        pareto_k: of the weights, the larger of both.
    """

    gradient: Tensor
    mean: Tensor
    sd: Tensor
    pareto_k: float

    @classmethod
    def of(cls, log_density: Tensor, numbers: Tensor, alpha: float) -> Scaled:
        """Of what the factor is at each draw.

        Args:
            log_density: log p, (draws,).
            numbers: what is looked at, (draws, numbers).
            alpha: above 1.
        """
        found = [_weights((power - 1) * log_density) for power in (1 / alpha, 1.0, alpha)]
        weights = torch.stack([w for w, _ in found])
        moved = torch.stack([distances(numbers, w) for w in weights[[0, 2]]])
        mean = weights @ numbers
        spread = torch.stack(
            [w @ (numbers - m).square() for w, m in zip(weights, mean, strict=True)]
        )
        k = max(k for _, k in found)
        return cls(moved.mean(0) / math.log2(alpha), mean, spread.sqrt(), k)


def distances(numbers: Tensor, weights: Tensor) -> Tensor:
    """How far weights move the distribution of each number: 0 where they do not, at most 1.

    The cumulative Jensen-Shannon distance of distribution functions P, Q (Nguyen & Vreeken 2015),
    normalised:

        sqrt((D(P, Q) + D(Q, P)) / int (P + Q)),
        D(P, Q) = int P log2(2 P / (P + Q)) + (Q - P) / (2 log 2) dx

    the larger of that of x and of -x (Kallioinen, Paananen, Buerkner & Vehtari 2024).

    Args:
        numbers: draws, (draws, numbers).
        weights: of the draws, (draws,), which sum to one.

    Returns:
        by number, (numbers,).
    """
    x, order = numbers.sort(0)
    moved = weights[order]
    return torch.maximum(_one_way(x, moved), _one_way(-x.flip(0), moved.flip(0)))


def _one_way(x: Tensor, weights: Tensor) -> Tensor:
    """Of draws in ascending order, and their weights, (draws, numbers)."""
    count, width = len(x), x.diff(dim=0)
    p = torch.linspace(1 / count, 1 - 1 / count, count - 1, dtype=x.dtype)[:, None]
    q = weights.cumsum(0)[:-1]
    middle = ((p + q) / 2).log2()
    # Weights of zero are the limit of p log p.
    gap = p * (p.log2() - middle) + torch.where(q > 0, q * (q.log2() - middle), 0.0)
    whole = ((p + q) * width).sum(0)
    # What is added to D(P, Q) is taken from D(Q, P).
    apart = (gap * width).sum(0).clamp(min=0)
    return torch.where(whole > 0, apart / whole.where(whole > 0, 1.0), 0.0).sqrt()


def _weights(log_weights: Tensor) -> tuple[Tensor, float]:
    """Pareto-smoothed weights (draws,) that sum to one, and k."""
    column = log_weights.double()[:, None]
    if float(column.max() - column.min()) < 1e-9:
        return torch.full_like(log_weights.double(), 1 / len(column)), -math.inf
    return smoothed(column)[0][:, 0].softmax(0), float(pareto_k(column)[0])
