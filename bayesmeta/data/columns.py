"""What columns of tasks must be: shapes, names and cells, with errors that name task and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class TasksError(ValueError):
    """The data given as tasks cannot be used; the message says where and what to do."""


def first_cell(bad: Tensor, real: Tensor | None = None) -> tuple[int, int] | None:
    """Task and row of the first cell of (tasks, data, ...) in which anything is bad, if any.

    Cells that are not real do not count; None says that all are.
    """
    cells = bad.flatten(2).any(-1) if bad.dim() > 2 else bad
    places = (cells if real is None else cells & real).nonzero()
    return (int(places[0, 0]), int(places[0, 1])) if len(places) else None


def place(at: tuple[int, int], names: Sequence[str], *, of_task: bool = False) -> str:
    """Where a cell is, in words."""
    return f"at task '{names[at[0]]}'" + ("" if of_task else f", row {at[1]} of that task")


def check_finite(
    name: str, column: Tensor, mask: Tensor, names: Sequence[str], *, of_task: bool
) -> None:
    """Raise for the first NaN or inf in a real cell, naming column, task and row.

    A column of_task has one cell a task, which has to be finite even where the task is empty.
    """
    if not column.is_floating_point():
        return
    bad = ~torch.isfinite(column.flatten(2) if column.dim() > 2 else column[..., None]).all(-1)
    at = first_cell(bad, None if of_task else mask)
    if at is not None:
        value = column[at].flatten()
        culprit = value[~torch.isfinite(value)][0].item()
        count = int((bad if of_task else bad & mask).sum())
        raise TasksError(
            f"column '{name}' is {culprit} {place(at, names, of_task=of_task)} "
            f"({count} such cells in all); {_instead_of_nan(name, column, at)}"
        )


def _instead_of_nan(name: str, column: Tensor, at: tuple[int, int]) -> str:
    drop = "drop these rows, or, in from_arrays, mark them False in mask"
    if name == "y" and bool(torch.isfinite(column[at]).any()):
        return (
            "where one outcome of several is missing, give any number that it can take in its "
            "place, a column that says where it was seen, and hide the others in the model, as by "
            'poutine.mask(mask=tasks.x["seen"] > 0) around its site'
        )
    if name != "y" and column.shape[1] > 1:
        return f"{drop}; or infer what is missing (docs/latents.md): obs_mask="
    return drop


def check_seen(
    name: str, hidden: Tensor, mask: Tensor, names: Sequence[str], *, of_task: bool
) -> None:
    """Raise for the first real cell of an input that a masked array hides.

    An outcome that is hidden was not observed, but an input is needed wherever there is an outcome.
    """
    at = first_cell(hidden, None if of_task else mask)
    if at is not None:
        raise TasksError(
            f"column '{name}' is masked {place(at, names, of_task=of_task)}, where there is a "
            "datapoint; give a value there, or mask y there too"
        )


def observed(hidden: Tensor, mask: Tensor, names: Sequence[str]) -> Tensor:
    """The mask less the outcomes that a masked array hides, (tasks, data).

    Raises:
        TasksError: where some numbers of an outcome are hidden, and others are not.
    """
    cells = hidden.flatten(2) if hidden.dim() > 2 else hidden[..., None]
    at = first_cell(cells.any(-1) & ~cells.all(-1), mask)
    if at is not None:
        raise TasksError(
            f"y is masked in part {place(at, names)}, but an outcome is observed as a whole or "
            "not at all; mask all its numbers, or make a task a component"
        )
    return mask & ~cells.all(-1)


def check_same_tasks(support: Sequence[str], query: Sequence[str]) -> None:
    """Raise where support and query are not of the same tasks, naming the first that differs."""
    if support == query:
        return
    at = next(
        (i for i, (one, other) in enumerate(zip(support, query, strict=False)) if one != other),
        min(len(support), len(query)),
    )
    first, second = (f"'{n[at]}'" if at < len(n) else "no task" for n in (support, query))
    raise TasksError(
        f"support has {len(support)} tasks and query has {len(query)}; the first difference is at "
        f"position {at}, where support has {first} and query has {second}; they must be the same, "
        "in the same order"
    )


def check_named(x: object) -> None:
    """Raise where x is no mapping of names to columns."""
    if x is not None and not isinstance(x, Mapping):
        raise TasksError(
            f"a {type(x).__name__} was given as x, but columns have names, by which a model reads "
            'them; give x={"name": values}'
        )


def check_names(names: Sequence[Any], num_tasks: int) -> tuple[str, ...]:
    """Task names as unique strings, one a task."""
    result = tuple(str(n) for n in names)
    if len(result) != num_tasks:
        raise TasksError(f"{len(result)} names were given for {num_tasks} tasks; give one a task")
    if len(set(result)) != num_tasks:
        twice = next(n for n in result if result.count(n) > 1)
        kinds = {type(n).__name__ for n in names if str(n) == twice}
        also = f" (as {' and as '.join(sorted(kinds))})" if len(kinds) > 1 else ""
        raise TasksError(
            f"the task name '{twice}' is given more than once{also}; names must differ: where it "
            "stands for one task, give it in one type, as by frame[task].astype(str)"
        )
    return result


def plate_sizes(
    y: Tensor | None, columns: Mapping[str, Tensor], mask: Tensor | None
) -> tuple[int, int]:
    """The sizes of the plates "tasks" and "data", from y, or else mask, or else the columns."""
    for name, column in {**columns, **({} if y is None else {"y": y})}.items():
        if column.dim() < 2:
            raise TasksError(
                f"'{name}' has shape {tuple(column.shape)}, but (tasks, data, ...) is expected; "
                f"rows of many tasks one below the other are for from_frame; with one datapoint a "
                f"task it is (tasks, 1): {name}[:, None]"
            )
    if y is not None:
        return y.shape[0], y.shape[1]
    if mask is not None:
        shape = (*mask.shape, 1)
        return shape[0], shape[1]
    if not columns:
        raise TasksError("neither y nor x nor mask was given, so there are no tasks")
    return max(c.shape[0] for c in columns.values()), max(c.shape[1] for c in columns.values())


def check_shapes(y: Tensor | None, columns: Mapping[str, Tensor], mask: Tensor) -> None:
    """Raise where y, the columns and the mask do not share one (tasks, data)."""
    plates = tuple(mask.shape)
    if len(plates) != 2:
        raise TasksError(f"mask has shape {plates}, but (tasks, data) is expected")
    if plates[0] == 0:
        raise TasksError("no tasks were given (tasks = 0); at least one is needed")
    if plates[1] == 0:
        raise TasksError("y has no room for a datapoint (data = 0); pad to 1 and mask it out")
    if y is not None and tuple(y.shape[:2]) != plates:
        raise TasksError(f"mask has shape {plates}, but y has shape {tuple(y.shape)}")
    for name, column in columns.items():
        if column.shape[0] != plates[0] or column.shape[1] not in (1, plates[1]):
            raise TasksError(
                f"column '{name}' has shape {tuple(column.shape)}, but y and mask have (tasks, "
                f"data) = {plates}; give ({plates[0]}, {plates[1]}, ...), or ({plates[0]}, 1, ...) "
                "for what is constant within its task"
            )
