"""cross_validate: log scores of datapoints by posteriors that have not seen them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.selection import shuffled_rows
from bayesmeta.data.tasks import Tasks
from bayesmeta.posterior.posterior import Posterior


def folds_of(tasks: Tasks, folds: int, seed: int) -> Iterator[tuple[Tasks, Tasks]]:
    """Support and query, `folds` times: each task's datapoints in random parts of equal size.

    Raises:
        TasksError: where a task has fewer datapoints than there are folds.
    """
    if (tasks.sizes < folds).any():
        small = int(tasks.sizes.argmin())
        raise TasksError(
            f"folds={folds} were asked for, and the smallest task, '{tasks.names[small]}', has "
            f"{int(tasks.sizes[small])} datapoints; give at most as many folds as each task has "
            "datapoints"
        )
    # A row's place in its task's random order says in which fold it is.
    fold = shuffled_rows(tasks.mask, seed).argsort(1) % folds
    everything = torch.arange(tasks.num_data, device=tasks.device).expand_as(fold)
    for k in range(folds):
        away = tasks.mask & (fold == k)
        yield tasks.take_rows(everything, tasks.mask & ~away), tasks.take_rows(everything, away)


def cross_validate(
    infer: Callable[[Tasks], Posterior],
    tasks: Tasks,
    *,
    folds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """The log score of each datapoint by a posterior that has not seen it, (tasks, data).

        score = bm.cross_validate(lambda support: post.adapt(support, phi=tuning), target)
        score.nanmean()

    Args:
        infer: a posterior of the same tasks from a part of their datapoints.
        tasks: all of the datapoints.
        folds: how many parts, each left out in turn.
        seed: chooses the parts.
        progress: whether to show a progress bar.

    Returns:
        nats; NaN on padding.

    Raises:
        TasksError: where a task has fewer datapoints than there are folds, or a posterior has seen
            other datapoints than it was given.
        TypeError: where `infer` is no function, or gives no posterior.
        TypeError, ValueError: where folds or seed are no such numbers.
    """
    if not callable(infer):
        raise TypeError(
            f"cross_validate got {infer!r}; give a function that makes a posterior of a part of "
            "the datapoints, as lambda support: post.adapt(support, phi=tuning)"
        )
    check_whole("cross_validate", "folds", folds, least=2)
    check_seed("cross_validate", seed)
    score = torch.full(tasks.mask.shape, torch.nan, dtype=tasks.dtype, device=tasks.device)
    parts = folds_of(tasks, folds, seed)
    for support, query in tqdm(parts, "folds", total=folds, disable=not progress):
        score = torch.where(query.mask, _of(infer, support).log_score(query), score)
    return score


def _of(infer: Callable[[Tasks], Posterior], support: Tasks) -> Posterior:
    """The posterior of the support, and of nothing else."""
    posterior = infer(support)
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"the function that was to infer gave {posterior!r}; it must return the posterior of "
            "the tasks it is given, as lambda support: post.adapt(support, phi=tuning)"
        )
    if posterior.tasks.sizes.tolist() != support.sizes.tolist():
        raise TasksError(
            f"the posterior has seen {int(posterior.tasks.sizes.sum())} datapoints where it was "
            f"given {int(support.sizes.sum())}: what is held out must not be seen; infer from the "
            "argument of the function, and from nothing else"
        )
    return posterior
