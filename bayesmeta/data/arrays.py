"""Columns, a mask and names as the checked, padded tensors that tasks are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.columns import (
    TasksError,
    check_finite,
    check_named,
    check_names,
    check_seen,
    check_shapes,
    observed,
    plate_sizes,
)
from bayesmeta.data.padding import fill_padding, pad, pad_column
from bayesmeta.data.precision import check_whole, common_dtype
from bayesmeta.data.values import Values, read_mask, read_values


class Arrays(NamedTuple):
    """What `Tasks` holds, by the same names."""

    x: dict[str, Tensor]
    y: Tensor | None
    mask: Tensor
    names: tuple[str, ...]
    ragged: bool
    dtype: torch.dtype


class Given(NamedTuple):
    """Columns as they were given: (tasks, data, ...), or (tasks, 1, ...)."""

    y: Values | None
    x: dict[str, Values]
    mask: Tensor | None


def given_arrays(y: Any, x: Mapping[str, Any] | None, mask: Any) -> Given:
    """Arrays of any kind; see `Tasks.from_arrays`."""
    check_named(x)
    return Given(
        None if y is None else read_values("y", y),
        {name: read_values(name, values) for name, values in (x or {}).items()},
        None if mask is None else read_mask(mask),
    )


def given_lists(y: Sequence[Any], x: Mapping[str, Sequence[Any]] | None) -> Given:
    """Lists of one array a task; see `Tasks.from_list`."""
    if not hasattr(y, "__len__"):
        raise TasksError(
            f"from_list got y={y!r}; give a list of one array a task (tasks without outcomes: "
            "from_arrays(None, x=...))"
        )
    if len(y) == 0:
        raise TasksError("no tasks were given; at least one is needed")
    check_named(x)
    outcomes = [read_values("y", values) for values in y]
    if any(values.tensor.dim() == 0 for values in outcomes):
        raise TasksError("from_list takes one array a task as y, but a single number was given")
    sizes = [len(values.tensor) for values in outcomes]
    width = max(1, *sizes)
    columns = {n: pad_column(n, values, sizes, width) for n, values in (x or {}).items()}
    mask = torch.arange(width) < torch.tensor(sizes)[:, None]
    return Given(pad("y", outcomes, width), columns, mask)


def checked(given: Given, names: Sequence[Any] | None) -> Arrays:
    """Tensors each real cell of which is a number, in a dtype in which none changes."""
    y, x, mask = given
    tensors = {name: values.tensor for name, values in x.items()}
    outcome = None if y is None else y.tensor
    num_tasks, num_data = plate_sizes(outcome, tensors, mask)
    real = torch.ones(num_tasks, num_data, dtype=torch.bool) if mask is None else mask
    check_shapes(outcome, tensors, real)
    task_names = check_names(names if names is not None else range(num_tasks), num_tasks)
    if y is not None and y.hidden is not None:
        real = observed(y.hidden, real, task_names)
    columns = {name: _filled(name, values, real, task_names) for name, values in x.items()}
    if y is not None:
        check_finite("y", y.tensor, real, task_names, of_task=False)
        check_whole(y.tensor, real, task_names)
        y = y._replace(tensor=fill_padding(y.tensor, real))
    dtype = common_dtype([*columns.values(), *([] if y is None else [y])])
    cast = {
        name: values.tensor.to(dtype) if values.tensor.is_floating_point() else values.tensor
        for name, values in columns.items()
    }
    outcome = None if y is None else y.tensor.to(dtype)
    return Arrays(cast, outcome, real, task_names, not bool(real.all()), dtype)


def _filled(name: str, values: Values, real: Tensor, names: Sequence[str]) -> Values:
    """An input that is seen and finite in real cells, and a copy of a real row in the others."""
    of_task = values.tensor.shape[1] == 1
    if values.hidden is not None:
        check_seen(name, values.hidden, real, names, of_task=of_task)
    check_finite(name, values.tensor, real, names, of_task=of_task)
    return values if of_task else values._replace(tensor=fill_padding(values.tensor, real))
