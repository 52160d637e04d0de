"""Importance weights: the shape of their tail, and draws picked by them."""

from __future__ import annotations

import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesmeta.engine.task_noise import TaskNoise

# The largest Pareto k at which means by importance weights are to be trusted (Vehtari et al. 2024).
TRUSTED_K = 0.7
_FEWEST = 25


def pareto_k(log_weights: Tensor) -> Tensor:
    """The Pareto shape of each task's importance weights (Vehtari et al. 2024).

    Args:
        log_weights: log target density minus log proposal density at each draw, (draws, tasks).

    Returns:
        k of each task, (tasks,); -inf where the weights are all alike, which have no tail.
    """
    alike = (log_weights == log_weights[:1]).all(0)
    found = torch.full(alike.shape, -torch.inf, dtype=torch.float64, device="cpu")
    if not alike.all():
        found[~alike.cpu()] = _pareto_k(log_weights[:, ~alike])
    return found


def _pareto_k(log_weights: Tensor) -> Tensor:
    return smoothed(log_weights)[1]


def smoothed(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log weights that sum to one, with the largest of them smoothed, and the shape of their tail.

    Args:
        log_weights: as for `pareto_k`, (draws, tasks), not all alike.

    Returns:
        log weights (draws, tasks), and k (tasks,): infinite of fewer than 25 draws, whose tail is
        too short to tell.
    """
    if len(log_weights) < _FEWEST:
        # ArviZ 0.23 gives the same, and 1.x raises an error.
        none = torch.full(log_weights.shape[1:], torch.inf, dtype=torch.float64, device="cpu")
        return log_weights.double().cpu().log_softmax(0), none
    by_task = np.ascontiguousarray(log_weights.double().cpu().numpy().T)
    az = classic()
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
