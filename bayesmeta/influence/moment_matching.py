"""Draws moved towards what their weights ask for, until these are to be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.task_level.importance import smoothed, without_nan

_ROUNDS = 10

LogDensity = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Weighed:
    """Draws with weights for a target.

    Attributes:
        at: the draws, (draws, d).
        log_q: the log density that they are drawn from, (draws,).
        log_weights: log target - log_q, smoothed, (draws,); they sum to one.
        k: Pareto's, of their tail.
        log_mean: log of the mean of target / q, which is the ratio of what they integrate to.
    """

    at: Tensor
    log_q: Tensor
    log_weights: Tensor
    k: float
    log_mean: float

    @classmethod
    def of(cls, target: LogDensity, at: Tensor, log_q: Tensor) -> Weighed:
        """By a target that is known up to a constant."""
        ratios = without_nan(target(at) - log_q)
        log_weights, k = smoothed(ratios[:, None])
        log_mean = float(ratios.logsumexp(0)) - math.log(len(at))
        return cls(at, log_q, log_weights[:, 0].to(at), float(k[0]), log_mean)

    def moved(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws (draws, d) with the mean that the weights ask for, then its variances too, then its
        covariance, each with its log density."""
        weights = self.log_weights.exp()
        mean, right = self.at.mean(0), weights @ self.at
        rest, off = self.at - mean, self.at - right
        yield rest + right, self.log_q
        ratio = ((weights @ off.square()) / rest.square().mean(0)).sqrt()
        yield rest * ratio + right, self.log_q - ratio.log().sum()
        roots = [
            torch.linalg.cholesky_ex(c)
            for c in (rest.mT @ rest / len(rest), off.mT @ (weights[:, None] * off))
        ]
        if not any(int(failed) for _, failed in roots):
            own, wanted = (root for root, _ in roots)
            whole = torch.linalg.solve_triangular(own, wanted, upper=False, left=False)
            size = whole.diagonal().log().sum()
            yield rest @ whole.mT + right, self.log_q - size


def matched(target: LogDensity, at: Tensor, log_q: Tensor, trusted_k: float) -> Weighed:
    """Weights of draws that are moved as a whole until their Pareto k is at most `trusted_k`.

    Draws are shifted to the mean that their weights ask for, then scaled to its variances, then
    turned to its covariance, as long as k falls (Paananen, Piironen, Buerkner & Vehtari 2021).
    What the density of the draws integrates to stays what it is.

    Args:
        target: the log density (draws,) of points (draws, d), up to a constant.
        at, log_q: draws (draws, d), and the log density (draws,) that they are from, likewise.
        trusted_k: where to end; it also ends where nothing helps, or after ten rounds.
    """
    here = Weighed.of(target, at, log_q)
    for _ in range(_ROUNDS):
        if here.k <= trusted_k:
            break
        tried = (Weighed.of(target, *way) for way in here.moved())
        better = next((new for new in tried if new.k < here.k), None)
        if better is None:
            break
        here = better
    return here
