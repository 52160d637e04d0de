"""The data that a loaded posterior was fitted to, known again by their digest."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.model.checks import first_few
from bayesmeta.theta.base import LearnedFrom
from bayesmeta.training.checkpoint import digest


def digest_of(tasks: Tasks) -> str | None:
    """What tells these data from others, whatever their dtype; None where there are none."""
    if tasks.y is None or tasks.are_episodes or not bool(tasks.mask.any()):
        return None
    columns = [*(tasks.x[name] for name in sorted(tasks.x)), tasks.y]
    sizes = tasks.mask.sum(1).cpu()
    return digest(
        [*(_seen(column, tasks) for column in columns), sizes], ", ".join(sorted(tasks.x))
    )


def _seen(column: Tensor, tasks: Tasks) -> Tensor:
    """Without padding, in double precision."""
    is_each = column.shape[1] == tasks.num_data
    return (column[tasks.mask] if is_each else column).double().cpu()


def with_data(draws: Draws, tasks: Tasks, known: str | None) -> Draws:
    """The draws with the data that they were fitted to, which a file does not hold.

    Args:
        draws: that were loaded.
        tasks: the data.
        known: their digest, as it was saved.

    Raises:
        TasksError: where these are others.
    """
    check_tasks("tasks", tasks)
    names = draws.tasks.names
    if set(tasks.names) != set(names) or len(tasks) != len(names):
        lacks = [n for n in names if n not in set(tasks.names)] or list(tasks.names)
        raise TasksError(
            f"load got tasks= of other names than the posterior's {len(names)}, as "
            f"{first_few(lacks)}; give those that it was fitted to, or adapt(tasks) to others"
        )
    tasks = tasks.select(torch.tensor([tasks.names.index(n) for n in names]))
    if known is None or digest_of(tasks) != known:
        raise TasksError(
            "load got tasks= whose data are not those that the posterior was fitted to, or were "
            "not noted when it was saved; leave it out, or give the same numbers again"
        )
    learned, fit = draws.fit.learned_from, draws.fit
    tasks = tasks.to(draws.tasks.device, draws.tasks.dtype)
    if draws.structure.local:
        # What is one a datapoint is not in the file, and is inferred once more.
        fit = replace(fit, phi=None, states=None, is_adapted=True)
    if learned is not None and (learned.names is None or set(learned.names) == set(names)):
        learned = LearnedFrom.of(tasks)
    return replace(draws, fit=replace(fit, tasks=tasks, learned_from=learned))
