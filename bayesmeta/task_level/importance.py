"""Importance weights: the shape of their tail, and draws picked by them."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.engine.task_noise import TaskNoise

# The largest Pareto k at which means by importance weights are to be trusted (Vehtari et al. 2024).
TRUSTED_K = 0.7
# Weights whose tail can be told, and weights above zero that have one.
FEWEST_DRAWS, _FEWEST = 25, 5
# In nats: by rounding.
_ALIKE = 1e-9


def pareto_k(log_weights: Tensor) -> Tensor:
    """The Pareto shape of each task's importance weights (Vehtari et al. 2024).

    Args:
        log_weights: log target density minus log proposal density at each draw, (draws, tasks).

    Returns:
        k of each task, (tasks,): -inf where the weights are all alike, which have no tail; infinite
        where fewer than five are above zero; NaN of fewer than 25 draws, whose tail is too short to
        tell.
    """
    weights = without_nan(log_weights)
    found = torch.full(weights.shape[1:], torch.nan, dtype=torch.float64, device="cpu")
    if len(weights) < FEWEST_DRAWS:
        return found
    is_lost = (weights > -torch.inf).sum(0) < _FEWEST
    is_alike = ~is_lost & (weights.amax(0) - weights.amin(0) < _ALIKE)
    found = found.where(~is_alike.cpu(), -torch.inf).where(~is_lost.cpu(), torch.inf)
    some = ~(is_alike | is_lost)
    if some.any():
        found[some.cpu()] = smoothed(weights[:, some])[1]
    return found


def without_nan(log_weights: Tensor) -> Tensor:
    """A weight of zero for what is no number."""
    return torch.where(log_weights.isnan(), -torch.inf, log_weights)


def worth(log_weights: Tensor) -> Tensor:
    """The effective share of draws with weights (draws, tasks), (tasks,): 1 where all are alike.

    1 / (n sum w^2) of n weights that sum to one (Kong 1992); 0 where all are zero.
    """
    weights = without_nan(log_weights.double())
    share = (weights - weights.amax(0).clamp(min=-1e300)).exp()
    return share.sum(0).square() / (len(share) * share.square().sum(0).clamp(min=1e-300))


class Shift(NamedTuple):
    """What weights ask for that draws without them do not have, each (tasks,).

    Attributes:
        mean: how far the weighted mean is from the mean, in weighted sds, at most over coordinates.
        sd: the sd by the weighted one, or the other way round, the largest of all, 1 or more.
        error: what both may be off by chance.
    """

    mean: Tensor
    sd: Tensor
    error: Tensor


def shift_of(phi: Tensor, log_weights: Tensor) -> Shift:
    """How far draws (draws, tasks, d) are from what their weights (draws, tasks) ask for."""
    phi, weights = phi.double(), without_nan(log_weights.double())
    share = weights.softmax(0)[..., None]
    mean = (share * phi).sum(0)
    sd = (share * (phi - mean).square()).sum(0).sqrt().clamp(min=1e-300)
    ratio = (phi.std(0) / sd).log().abs().exp()
    effective = len(phi) * worth(weights)
    return Shift(((phi.mean(0) - mean) / sd).abs().amax(-1), ratio.amax(-1), 4 / effective.sqrt())


def smoothed(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log weights that sum to one, with the largest of them smoothed, and the shape of their tail.

    Args:
        log_weights: as for `pareto_k`, (draws, tasks), not all alike.

    Returns:
        log weights (draws, tasks), and k (tasks,): infinite of fewer than 25 draws, whose tail is
        too short to tell, or of a tail of one value; these are as they were.
    """
    if len(log_weights) < FEWEST_DRAWS:
        # ArviZ 0.23 gives the same, and 1.x raises an error.
        none = torch.full(log_weights.shape[1:], torch.inf, dtype=torch.float64, device="cpu")
        return log_weights.double().cpu().log_softmax(0), none
    by_task = np.ascontiguousarray(log_weights.double().cpu().numpy().T)
    az = classic()
    # Of tails that are all but one weight both versions overflow on the way to a large k.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        found, k = _by_arviz(az, by_task)
    # A tail of one value, as of draws that stand there often, has no shape, and NaN as weights.
    lost = found.isnan().any(0)
    if lost.any():
        plain = log_weights.double().cpu()[:, lost].log_softmax(0)
        found, k = found.clone(), k.clone()
        found[:, lost], k[lost] = plain, torch.inf
    return found, k


def _by_arviz(az: Any, by_task: np.ndarray) -> tuple[Tensor, Tensor]:
    if az is None:
        from arviz_stats.base import array_stats

        # It takes log likelihoods to leave out, the negative of log weights.
        found, k = array_stats.psislw(-by_task)
    else:
        found, k = az.psislw(by_task)
    return torch.from_numpy(np.asarray(found).T), torch.from_numpy(np.atleast_1d(np.asarray(k)))


def pick(log_weights: Tensor, noise: TaskNoise) -> Tensor:
    """A candidate for each draw and task, with chances in proportion to its weight (Rubin 1987).

    Args:
        log_weights: (candidates, draws, tasks).
        noise: the source of randomness.

    Returns:
        which one, (draws, tasks).
    """
    chances = noise.uniform(log_weights.shape, log_weights.dtype)
    # The largest of weights times exponential noise: Gumbel's way to draw from a categorical.
    return (log_weights - (-chances.log()).log()).argmax(0)


def classic() -> Any:
    """ArviZ before 1.0, or None where it is 1.x or absent."""
    try:
        if int(version("arviz").split(".")[0]) >= 1:
            return None
    except PackageNotFoundError:
        return None
    with warnings.catch_warnings():
        # ArviZ 0.23 announces 1.0 at import.
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
        import arviz
    return arviz


def systematic(weights: Tensor, count: int, seed: int) -> Tensor:
    """So many positions of weights (draws,) by systematic sampling (Kitagawa 1996), in order."""
    start = torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    at = (start + torch.arange(count, dtype=torch.float64)) / count
    total = weights.double().cpu().cumsum(0)
    return torch.searchsorted(total, at).clamp(max=len(weights) - 1).to(weights.device)
