"""Arrays and lists of arrays as the checked, padded tensors that tasks are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.columns import (
    TasksError,
    as_column,
    check_finite,
    check_named,
    check_names,
    check_shapes,
    common_dtype,
    fill_padding,
    pad,
    pad_column,
    plate_sizes,
)


class Arrays(NamedTuple):
    """What `Tasks` holds, by the same names."""

    x: dict[str, Tensor]
    y: Tensor | None
    mask: Tensor
    names: tuple[str, ...]
    ragged: bool
    dtype: torch.dtype


def checked_arrays(
    y: Any, x: Mapping[str, Any] | None, mask: Any, names: Sequence[Any] | None
) -> Arrays:
    """Arrays of any kind, each real cell of which is a number; see `Tasks.from_arrays`."""
    check_named(x)
    columns = {name: as_column(name, values) for name, values in (x or {}).items()}
    outcome = None if y is None else as_column("y", y)
    num_tasks, num_data = plate_sizes(outcome, columns, mask)
    real = torch.ones(num_tasks, num_data, dtype=torch.bool)
    if mask is not None:
        real = as_column("mask", mask).bool()
    check_shapes(outcome, columns, real)
    task_names = check_names(names if names is not None else range(num_tasks), num_tasks)
    dtype = common_dtype(outcome, list(columns.values()))
    for name, column in columns.items():
        of_task = column.shape[1] == 1
        check_finite(name, column, real, task_names, of_task=of_task)
        column = column.to(dtype) if column.is_floating_point() else column
        columns[name] = column if of_task else fill_padding(column, real)
    if outcome is not None:
        check_finite("y", outcome, real, task_names, of_task=False)
        outcome = fill_padding(outcome.to(dtype), real)
    return Arrays(columns, outcome, real, task_names, not bool(real.all()), dtype)


def padded_lists(
    y: Sequence[Any], x: Mapping[str, Sequence[Any]] | None
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """y, columns and mask out of lists of one array a task; see `Tasks.from_list`."""
    if len(y) == 0:
        raise TasksError("no tasks were given; at least one is needed")
    check_named(x)
    outcomes = [as_column("y", values) for values in y]
    if any(values.dim() == 0 for values in outcomes):
        raise TasksError("from_list takes one array a task as y, but a single number was given")
    sizes = [len(values) for values in outcomes]
    width = max(1, *sizes)
    columns = {n: pad_column(n, values, sizes, width) for n, values in (x or {}).items()}
    mask = torch.arange(width) < torch.tensor(sizes)[:, None]
    return pad(outcomes, width), columns, mask
