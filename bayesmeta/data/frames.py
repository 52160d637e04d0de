"""A data frame with one row a datapoint, taken apart into tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.arrays import Given
from bayesmeta.data.columns import TasksError
from bayesmeta.data.row_index import RowIndex
from bayesmeta.data.values import Values, read_values

if TYPE_CHECKING:
    import pandas as pd


class FrameColumns(NamedTuple):
    """A frame as columns, with the ids of its tasks and the way back to its rows."""

    given: Given
    names: list[Any]
    rows: RowIndex


def read_frame(
    frame: pd.DataFrame,
    task: str | list[str],
    y: str | Sequence[str] | None,
    x: Sequence[str],
    task_x: Sequence[str],
) -> FrameColumns:
    """The columns of a frame, task by task in order of first appearance.

    Args:
        frame: one row a datapoint, in any order.
        task: the column that says which task a row belongs to, or several that do so together.
        y: the outcome column, or several; None for prediction.
        x: columns of the datapoints.
        task_x: columns that are constant within a task.

    Raises:
        TasksError: for what is no frame, a missing column, a row without task, no rows, and a
            task_x column that varies within a task.
    """
    keys = task if isinstance(task, list) else [task]
    _check_arguments(frame, keys, x, task_x)
    outcomes = [] if y is None else [y] if isinstance(y, str) or not isinstance(y, Sequence) else y
    for name in (*keys, *outcomes, *x, *task_x):
        _check_column(frame, name)
    codes, names = _tasks_of(frame, keys)
    rows, mask = _layout(codes)

    def laid_out(name: str, rows: Tensor) -> Values:
        values = read_values(name, frame[name].to_numpy())
        return values._replace(tensor=values.tensor[rows])

    for name in task_x:
        _check_constant(name, frame[name].groupby(codes).nunique(dropna=False), names)
    columns = {name: laid_out(name, rows) for name in x}
    columns |= {name: laid_out(name, rows[:, :1]) for name in task_x}
    outcome = None
    if outcomes:
        parts = [laid_out(name, rows) for name in outcomes]
        outcome = parts[0] if isinstance(y, str) else _together(parts)
    return FrameColumns(Given(outcome, columns, mask), names, RowIndex(frame.index, rows))


def _together(outcomes: Sequence[Values]) -> Values:
    """Several outcomes as one of several numbers, (tasks, data, outcomes)."""
    kinds = {values.tensor.dtype for values in outcomes}
    tensors = [v.tensor if len(kinds) == 1 else v.tensor.double() for v in outcomes]
    return Values(torch.stack(tensors, -1), own=any(v.own for v in outcomes))


def _tasks_of(frame: pd.DataFrame, keys: list[str]) -> tuple[np.ndarray, list[Any]]:
    """The number of each row's task, and the tasks' ids in order of first appearance."""
    codes, ids = np.zeros(len(frame), dtype=np.int64), list[tuple[Any, ...]]([()])
    for key in keys:
        missing = frame[key].isna()
        if missing.any():
            row = frame.index[missing][0]
            raise TasksError(f"the task column '{key}' is missing in row {row}; drop such rows")
        own, found = frame[key].factorize()
        both = codes * len(found) + own
        _, first, codes = np.unique(both, return_index=True, return_inverse=True)
        order = np.argsort(first)
        ids = [(*ids[both[at] // len(found)], found[own[at]]) for at in first[order]]
        codes = np.argsort(order)[codes]
    if not len(frame):
        raise TasksError("the frame has no rows; at least one task is needed")
    return codes, [one[0] if len(keys) == 1 else ", ".join(map(str, one)) for one in ids]


def _layout(codes: np.ndarray) -> tuple[Tensor, Tensor]:
    """Rows of the frame as (tasks, data), in its order, and which cells are no padding.

    Padding is the task's first row.
    """
    sizes = torch.from_numpy(np.bincount(codes))
    order = torch.from_numpy(np.argsort(codes, kind="stable"))
    cell = torch.arange(int(sizes.max()))
    mask = cell < sizes[:, None]
    start = (sizes.cumsum(0) - sizes)[:, None]
    return order[start + torch.where(mask, cell, 0)], mask


def _check_constant(name: str, counts: pd.Series, names: list[Any]) -> None:
    for label, count in zip(names, counts, strict=True):
        if count != 1:
            raise TasksError(
                f"column '{name}' takes {count} values in task '{label}', but task_x columns "
                "are constant within a task; give it in x instead"
            )


def _check_arguments(
    frame: object, keys: list[str], x: Sequence[str], task_x: Sequence[str]
) -> None:
    if not hasattr(frame, "groupby"):
        raise TasksError(
            f"a {type(frame).__name__} was given as frame, but from_frame takes a pandas "
            "DataFrame; use from_arrays or from_list"
        )
    if not keys:
        raise TasksError("task=[] names no column; give the one that says whose each row is")
    for argument, given in (("x", x), ("task_x", task_x)):
        if isinstance(given, str):
            raise TasksError(f"{argument}='{given}' is a string; give {argument}=['{given}']")
        if not isinstance(given, Iterable):
            raise TasksError(f"{argument}={given!r} is no list of columns' names; leave it out")
    both = [name for name in x if name in task_x]
    if both:
        raise TasksError(
            f"column '{both[0]}' is in x and in task_x; give it in task_x where it is constant "
            "within a task, and else in x"
        )


def _check_column(frame: pd.DataFrame, name: str) -> None:
    """Refuse a name that is no column of the frame, or several."""
    if isinstance(name, list):
        raise TasksError(f"{name} is a list where the name of one column is expected")
    if name not in frame.columns:
        inside = name in frame.index.names
        raise TasksError(
            f"the frame has no column '{name}'; its columns are {list(frame.columns)}"
            + ("; its index has that name: give frame.reset_index()" if inside else "")
        )
    if (found := frame[name]).ndim > 1:
        raise TasksError(
            f"the name '{name}' stands for a table of {found.shape[1]} columns of the frame, and "
            "which is meant is not known; rename them, or keep the first of each by frame.loc[:, "
            "~frame.columns.duplicated()]"
        )
