"""A data frame with one row a datapoint, taken apart into tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bayesmeta.columns import TasksError

if TYPE_CHECKING:
    import pandas as pd


def read_frame(
    frame: pd.DataFrame, task: str, data: Sequence[str], constant: Sequence[str]
) -> tuple[list[Any], dict[str, list[Any]]]:
    """The task names, in order of first appearance, and each column as a list over tasks.

    Args:
        frame: one row a datapoint, in any order.
        task: the column that says which task a row belongs to.
        data: columns of the datapoints; an item is the array of one task.
        constant: columns that are constant within a task; an item is one value.

    Raises:
        TasksError: for a missing column, a row without task, no rows, and a constant column that
            varies within a task.
    """
    for name in (task, *data, *constant):
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
    for name in constant:
        for label, group in groups:
            if (count := group[name].nunique(dropna=False)) != 1:
                raise TasksError(
                    f"column '{name}' takes {count} values in task '{label}', but task_x columns "
                    "are constant within a task; give it in x instead"
                )
    columns: dict[str, list[Any]] = {
        name: [group[name].to_numpy() for _, group in groups] for name in data
    }
    columns |= {name: [group[name].iloc[0] for _, group in groups] for name in constant}
    return [label for label, _ in groups], columns
