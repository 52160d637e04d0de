"""cross_validate: log scores of datapoints by posteriors that have not seen them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.selection import shuffled_rows
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.predict import observed
from bayesmeta.evaluation.seen import may_be_seen, quoted, seen_by_phi, seen_by_theta, with_any
from bayesmeta.model.observation import about_elsewhere
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.training.loop import TrainingError


def folds_of(tasks: Tasks, folds: int, seed: int) -> Iterator[tuple[Tasks, Tasks]]:
    """Support and query, `folds` times: each task's datapoints in random parts of equal size.

    Outcomes that are classes are spread over the parts evenly, so that no support lacks a class
    that the task has twice.

    Raises:
        TasksError: where a task has fewer datapoints than there are folds, or a query.
    """
    _check_tasks(tasks, folds)
    order = shuffled_rows(tasks.mask, seed)
    if tasks.y is not None and _are_classes(tasks.y, tasks.mask):
        # One class after the other, in random order within, and the padding last.
        last = tasks.y.max() + 1
        labels = torch.where(tasks.mask, tasks.y, last).gather(1, order)
        order = order.gather(1, torch.argsort(labels, dim=1, stable=True))
    # A row's place in its task's order says in which fold it is.
    fold = order.argsort(1) % folds
    everything = torch.arange(tasks.num_data, device=tasks.device).expand_as(fold)
    for k in range(folds):
        away = tasks.mask & (fold == k)
        yield tasks.take_rows(everything, tasks.mask & ~away), tasks.take_rows(everything, away)


def _check_tasks(tasks: Tasks, folds: int) -> None:
    if tasks.query is not None:
        raise TasksError(
            "the tasks have a query, which is left out of no fold and would not be scored; give "
            "tasks as they were before with_query, or score the query of episodes itself: "
            'bm.compare({"model": post.adapt(episodes)}, episodes.query)'
        )
    if (tasks.sizes < folds).any():
        small = int(tasks.sizes.argmin())
        raise TasksError(
            f"folds={folds} were asked for, and the smallest task, '{tasks.names[small]}', has "
            f"{int(tasks.sizes[small])} datapoints; give at most as many folds as each task has "
            "datapoints"
        )


def _are_classes(y: Tensor, mask: Tensor) -> bool:
    """Whether outcomes are few whole numbers from 0 on, half as many as datapoints at most."""
    if y.dim() != 2:
        return False
    seen = y[mask]
    is_whole = torch.equal(seen, seen.round()) and bool((seen >= 0).all())
    return is_whole and 2 * len(seen.unique()) <= len(seen)


def cross_validate(
    infer: Callable[[Tasks], Posterior],
    tasks: Tasks,
    *,
    folds: int = 5,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """The log score of each datapoint by a posterior that has not seen it, (tasks, data).

        post = bm.fit(model, source)                 # tasks that are none of the target's
        score = bm.cross_validate(lambda support: post.adapt(support, phi=tuning), target)
        score.nanmean()

    Theta must not have seen what is held out either: where it was learned from these very tasks, it
    is learned anew from each part.

        score = bm.cross_validate(lambda support: bm.fit(model, support), tasks)

    Args:
        infer: a posterior of the same tasks from a part of their datapoints.
        tasks: all of the datapoints.
        folds: how many parts, each left out in turn.
        seed: chooses the parts. Of classes each part has as many of each as can be.
        progress: whether to show a progress bar.

    Returns:
        nats; NaN where nothing was observed, as on padding.

    Raises:
        TasksError: where a task has fewer datapoints than there are folds, or a query, or where a
            posterior, its phi or its theta, has seen datapoints that were held out.
        TrainingError: where a score of what was observed is no number.
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
        posterior = _of(infer, support)
        if score.isnan().all():
            _warn_of_rows_together(posterior)
        _check_unseen(posterior, support, query)
        found = posterior.log_score(query)
        _check_numbers(posterior, query, found)
        score = torch.where(query.mask, found, score)
    return score


def _warn_of_rows_together(posterior: Posterior) -> None:
    for said in about_elsewhere(posterior.structure):
        warnings.warn(f"cross_validate takes rows of a task apart, but {said}", stacklevel=3)


def _of(infer: Callable[[Tasks], Posterior], support: Tasks) -> Posterior:
    """The posterior of the support."""
    posterior = infer(support)
    if not isinstance(posterior, Posterior):
        raise TypeError(
            f"the function that was to infer gave {posterior!r}; it must return the posterior of "
            "the tasks it is given, as lambda support: post.adapt(support, phi=tuning)"
        )
    return posterior


def _check_unseen(posterior: Posterior, support: Tasks, query: Tasks) -> None:
    """Refuse a posterior of more than the support, and warn where that cannot be known."""
    if posterior.tasks.sizes.tolist() != support.sizes.tolist():
        raise TasksError(
            f"the posterior has seen {int(posterior.tasks.sizes.sum())} datapoints where it was "
            f"given {int(support.sizes.sum())}: what is held out must not be seen; infer from the "
            "argument of the function, and from nothing else"
        )
    by_phi, by_theta = seen_by_phi(posterior, query), seen_by_theta(posterior, query)
    if by_phi.any() or by_theta.any():
        what, seen = ("phi", by_phi) if by_phi.any() else ("theta", by_theta)
        raise TasksError(
            f"{what} has seen {int(seen.sum())} of {int(query.mask.sum())} datapoints that were "
            f"held out (tasks {quoted(with_any(seen, query))}), so that their score would be no "
            "measure of new data; fit to each part anew, lambda support: bm.fit(model, support), "
            "or adapt what was fitted to other tasks than these"
        )
    if unsure := may_be_seen(posterior, query):
        warnings.warn(
            f"theta was fitted to tasks of the same names ({quoted(unsure)}) and then loaded, "
            "without data: if these are the same datapoints, it has seen what is held out, and the "
            "scores are no measure of new data",
            stacklevel=3,
        )


def _check_numbers(posterior: Posterior, query: Tasks, score: Tensor) -> None:
    """Refuse NaN where something was observed: it is a failure, and no padding."""
    failed = score.isnan() & query.mask
    if failed.any():
        failed &= observed(posterior.draws, query)
    if failed.any():
        raise TrainingError(
            f"the log score is no number in {len(with_any(failed, query))} of {len(query)} tasks "
            f"({quoted(with_any(failed, query))}): draws of their phi, or of theta, are NaN or "
            "infinite, as where training went astray; take a smaller lr, or inputs scaled to unit "
            "variance"
        )
