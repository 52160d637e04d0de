"""A data frame with one row a datapoint, taken apart into tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError, as_column, pad_column

if TYPE_CHECKING:
    import pandas as pd


class FrameColumns(NamedTuple):
    """What `Tasks.from_arrays` takes: padded arrays of shape (tasks, data) or (tasks, 1)."""

    y: Tensor | None
    x: dict[str, Tensor]
    mask: Tensor
    names: list[Any]


def read_frame(
    frame: pd.DataFrame, task: str, y: str | None, x: Sequence[str], task_x: Sequence[str]
) -> FrameColumns:
    """The columns of a frame, task by task in order of first appearance.

    Args:
        frame: one row a datapoint, in any order.
        task: the column that says which task a row belongs to.
        y: the outcome column; None for prediction.
        x: columns of the datapoints.
        task_x: columns that are constant within a task.

    Raises:
        TasksError: for what is no frame, a missing column, a row without task, no rows, and a
            task_x column that varies within a task.
    """
    _check_arguments(frame, x, task_x)
    for name in (task, *([] if y is None else [y]), *x, *task_x):
        if name not in frame.columns:
            raise TasksError(
                f"the frame has no column '{name}'; its columns are {list(frame.columns)}"
            )
    if frame[task].isna().any():
        row = frame.index[frame[task].isna()][0]
        raise TasksError(f"the task column '{task}' is missing in row {row}; drop such rows")
    groups = list(frame.groupby(task, sort=False, observed=True))
    if not groups:
        raise TasksError("the frame has no rows; at least one task is needed")
    sizes = [len(group) for _, group in groups]

    def padded(name: str) -> Tensor:
        return pad_column(name, [group[name].to_numpy() for _, group in groups], sizes, max(sizes))

    columns = {name: padded(name) for name in x}
    columns |= {name: _of_tasks(name, groups) for name in task_x}
    return FrameColumns(
        None if y is None else padded(y),
        columns,
        torch.arange(max(sizes)) < torch.tensor(sizes)[:, None],
        [label for label, _ in groups],
    )


def _of_tasks(name: str, groups: list[tuple[Any, pd.DataFrame]]) -> Tensor:
    """A column that is constant within a task, (tasks, 1)."""
    for label, group in groups:
        if (count := group[name].nunique(dropna=False)) != 1:
            raise TasksError(
                f"column '{name}' takes {count} values in task '{label}', but task_x columns "
                "are constant within a task; give it in x instead"
            )
    return as_column(name, [group[name].iloc[0] for _, group in groups])[:, None]


def _check_arguments(frame: object, x: object, task_x: object) -> None:
    if not hasattr(frame, "groupby"):
        raise TasksError(
            f"a {type(frame).__name__} was given as frame, but from_frame takes a pandas "
            "DataFrame; use from_arrays or from_list"
        )
    for argument, given in (("x", x), ("task_x", task_x)):
        if isinstance(given, str):
            raise TasksError(f"{argument}='{given}' is a string; give {argument}=['{given}']")
