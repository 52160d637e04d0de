"""Sums over many tasks of which few were looked at: the difference estimator."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.evidence import evidence
from bayesmeta.model.density import Density
from bayesmeta.phi import Phi

# Of one difference there is no spread.
_LEAST = 2
# Draws of theta by which all tasks are scored.
_FEW = 16


class Sum(NamedTuple):
    """A sum over tasks.

    Attributes:
        total: the sum, or an estimate of it.
        error: its standard error, as of a sum over tasks drawn from a population of them; NaN where
            so few tasks were looked at that its square is estimated to be below zero.
        subsampling_error: the standard error of the estimate of the sum over these tasks.
    """

    total: float
    error: float
    subsampling_error: float


def check_subsample(owner: str, subsample: int | None, seed: int) -> None:
    """Refuse what is no number of tasks to look at, or no seed.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    check_whole(owner, "subsample", subsample, least=_LEAST, or_none=True)
    check_seed(owner, seed)


def drawn(tasks: Tasks, subsample: int, seed: int) -> Tensor:
    """Places of so many tasks, drawn at random without replacement among those with datapoints.

    Raises:
        ValueError: where there are fewer.
    """
    full = (tasks.sizes.cpu() > 0).nonzero()[:, 0]
    if subsample > len(full):
        raise ValueError(
            f"leave_one_task_out got subsample={subsample} of {len(full)} tasks with datapoints; "
            f"give at most {len(full)}, or None to look at all of them"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(full), generator=generator, device="cpu")
    return full[order[:subsample].sort().values]


def approximated(density: Density, phi: Phi, theta: Tensor, tasks: Tasks, seen: Tensor) -> Tensor:
    """About the score of each task, by few draws of theta (chain, draw, d_theta), (tasks,).

        a_i = -log mean_k 1 / p(D_i | theta_k)

    over 16 draws and their mirror images around the mean, so that what is linear in theta cancels.
    Of tasks that theta has not seen, (tasks,), it is the log of the mean of p(D_i | theta_k).

    A task that is impossible at one of them has NaN.
    """
    draws = theta.flatten(0, 1)
    middle = draws.mean(0)
    few = draws[torch.linspace(0, len(draws) - 1, min(len(draws), _FEW)).long()]
    log_p = evidence(density, phi, torch.cat([few, 2 * middle - few]), tasks)
    sign = torch.where(seen.to(log_p.device), -1.0, 1.0).to(log_p)
    found = sign * (torch.logsumexp(sign * log_p, 0) - math.log(len(log_p)))
    return torch.where(found.isfinite(), found, torch.nan)


def sum_of(scores: np.ndarray, alike: np.ndarray, approximations: np.ndarray) -> Sum:
    """The sum of the scores s of N tasks, of which m were drawn to be looked at.

        t = sum_i a_i + N / m sum_j e_j,        e_j = s_j - a_j
        v = N^2 (1 - m / N) var(e) / m
        N var(s) = N / (N - 1) (sum_i a_i^2 + N / m sum_j (s_j^2 - a_j^2) - (t^2 - v) / N)

    over all tasks i, and those looked at, j: without bias, however far the approximations a are off
    (Magnusson, Andersen, Jonasson & Vehtari 2020). v is the square of the subsampling error.

    Args:
        scores: s of tasks looked at, (m,).
        alike: a of these, (m,), found beside s: a task's nodes, where phi is integrated out by
            weights, depend on its place among the tasks, and cancel in e.
        approximations: a of all tasks, (N,). Of NaN the mean takes the place in both: any number
            will do, and a better one has less error.
    """
    count, some = len(approximations), len(scores)
    # The same from wherever one counts, with less rounding from the middle.
    known = approximations[~np.isnan(approximations)]
    middle = known.mean() if len(known) else 0.0
    a, own = np.nan_to_num(approximations - middle), np.nan_to_num(alike - middle)
    s = scores - middle
    with np.errstate(invalid="ignore"):  # a score may be of what is impossible
        total = a.sum() + count * (s - own).mean()
        v = count**2 * (1 - some / count) * (s - own).var(ddof=1) / some
        squares = (a**2).sum() + count * (s**2 - own**2).mean()
        variance = count / (count - 1) * (squares - (total**2 - v) / count)
    error = np.sqrt(variance) if variance >= 0 else np.nan
    return Sum(float(total + count * middle), float(error), float(np.sqrt(v)))
