"""Which tasks can be left out of theta: those that it has seen whole, where it is known which."""

from __future__ import annotations

from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.same_rows import same_rows
from bayesmeta.evaluation.seen import may_be_seen, quoted, seen_by_theta, with_any, without_masked
from bayesmeta.model.checks import StructureError
from bayesmeta.posterior.posterior import Posterior


def tasks_seen(posterior: Posterior) -> Tensor:
    """Which of the posterior's tasks theta was fitted to, (tasks,).

    Raises:
        TasksError: where it was to some rows of a task and not to others, or that is not known.
    """
    tasks = posterior.tasks
    _check_known(posterior, tasks)
    seen, learned = seen_by_theta(posterior, tasks), posterior.fit.learned_from
    if learned is None or learned.tasks is None or not bool(seen.any()):
        return seen.any(1)
    own, known = (without_masked(posterior.draws, t) for t in (tasks, learned.tasks))
    both = ((seen, own), (same_rows(known, own), known))
    in_part = [(c.any(1) & (c != t.mask.cpu()).any(1), t) for c, t in both]
    if names := {n for some, t in in_part for n in with_any(some[:, None], t)}:
        raise TasksError(
            f"theta was fitted to other datapoints of {quoted(sorted(names))} than the posterior "
            "holds, of which some are the same: a task is left out whole; adapt to all of its "
            "datapoints that theta has seen, or to none of them"
        )
    return seen.any(1)


def _check_known(posterior: Posterior, tasks: Tasks) -> None:
    """Refuse tasks without data, with a query, or that a posterior that was loaded may know."""
    if not bool(tasks.mask.any()):
        raise TasksError(
            "the posterior's tasks hold no datapoints, so that there is nothing to score (a "
            "posterior that was loaded holds no data); give it tasks, as in "
            "bm.leave_one_task_out(post.adapt(tasks))"
        )
    if tasks.query is not None:
        raise TasksError(
            "the posterior's tasks have a query, and what is left out is a task whole; fit, or "
            "adapt, to tasks without a query"
        )
    if unsure := may_be_seen(posterior, tasks):
        raise TasksError(
            f"the posterior was loaded, without data, and theta was fitted to tasks of the same "
            f"names ({quoted(unsure)}): whether these are the same datapoints, which would have "
            "to be left out, is not known; fit again, or rename tasks that are others"
        )


def check_left_out(posterior: Posterior, seen: Tensor) -> None:
    """Refuse a posterior from which the tasks that theta has seen cannot be taken out.

    Raises:
        StructureError: where there is no theta, or a point.
        TasksError: where theta was fitted to a query.
        ValueError: where there are too few tasks.
    """
    learned = posterior.fit.learned_from
    if posterior.density.d_theta == 0:
        raise StructureError(
            "the model has no theta, so that tasks tell nothing of each other and there is nothing "
            "to leave out; bm.cross_validate leaves out datapoints of each task"
        )
    if learned is None or learned.tasks is None or not bool(seen.any()):
        return
    if posterior.is_point:
        raise StructureError(
            "theta is a point estimate, which would be the same without a task; fit with "
            "theta=bm.NUTS() or theta=bm.Gaussian()"
        )
    if learned.tasks.query is not None:
        raise TasksError(
            "theta was fitted to the query of its tasks, and so to no p(D_i | theta) that could be "
            "taken out of it; give tasks that it has not seen, as in "
            "bm.leave_one_task_out(post.adapt(new))"
        )
    if learned.tasks.num_tasks < 3:
        raise ValueError(
            f"{learned.tasks.num_tasks} tasks are too few to leave one out; give at least 3"
        )


def notes_on(tasks: Tasks, seen: Tensor) -> tuple[str, ...]:
    """What is said of tasks that were not left out."""
    empty = tasks.sizes.cpu() == 0
    new = ~seen & ~empty
    notes = []
    if new.any():
        which = "none of them" if new.all() else quoted(with_any(new[:, None], tasks))
        said = f"theta has seen {which}" if new.all() else f"theta has not seen {which}"
        notes.append(f"{said}: not taken out of it, but scored as they are, log E[p(D_i | theta)]")
    if empty.any():
        which = quoted(with_any(empty[:, None], tasks))
        notes.append(f"without datapoints, whose score is that of nothing, 0: {which}")
    return tuple(notes)
