"""Arrays of any kind to checked, padded columns, with errors that name column, task and row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class TasksError(ValueError):
    """The data given as tasks cannot be used; the message says where and what to do."""


def as_column(name: str, values: Any) -> Tensor:
    """One column as a tensor: floating stays as it is, bool becomes floating, integers stay.

    Raises:
        TasksError: for strings, objects, dates, complex numbers and ragged nested lists.
    """
    if isinstance(values, Tensor):
        column = values.detach()
    else:
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise TasksError(
                f"column '{name}' is ragged, so it is no array ({error}); give tasks of "
                "different sizes to Tasks.from_list or Tasks.from_frame"
            ) from None
        if array.dtype.kind not in "fiub":
            raise TasksError(
                f"column '{name}' has dtype {array.dtype}, but numbers are expected; encode "
                "categories as columns of 0 and 1 (pandas.get_dummies), or as integers "
                "(pandas.factorize) where the model looks them up, and dates as floats"
            )
        if array.dtype.kind == "f" and _is_plain(values):
            # Python floats carry no precision of their own: they take torch's default, as in torch.
            array = array.astype(torch.empty(0).numpy().dtype)
        column = torch.from_numpy(np.array(array))
    if column.is_complex():
        raise TasksError(f"column '{name}' is complex; give its real and imaginary parts apart")
    if column.dtype == torch.bool:
        return column.to(torch.get_default_dtype())
    return column if column.is_floating_point() else column.long()


def _is_plain(values: Any) -> bool:
    while isinstance(values, list | tuple) and values:
        values = values[0]
    return type(values) in (int, float, list, tuple)


def common_dtype(y: Tensor | None, columns: Sequence[Tensor]) -> torch.dtype:
    """The floating dtype that holds every floating column; torch's default where there is none."""
    dtypes = {c.dtype for c in (*columns, y) if c is not None and c.is_floating_point()}
    if not dtypes:
        return torch.get_default_dtype()
    widest = dtypes.pop()
    for dtype in dtypes:
        widest = torch.promote_types(widest, dtype)
    return widest


def check_finite(
    name: str, column: Tensor, mask: Tensor, names: Sequence[str], *, of_task: bool
) -> None:
    """Raise for the first NaN or inf in a real cell, naming column, task and row.

    A column of_task has one cell a task, which has to be finite even where the task is empty.
    """
    if not column.is_floating_point():
        return
    bad = (
        ~torch.isfinite(column.flatten(2)).all(-1) if column.dim() > 2 else ~torch.isfinite(column)
    )
    bad = bad if of_task else bad & mask
    if bad.any():
        task, row = (int(i) for i in bad.nonzero()[0])
        value = column[task, row].flatten()
        culprit = value[~torch.isfinite(value)][0].item()
        where = "" if of_task else f", row {row} of that task"
        raise TasksError(
            f"column '{name}' is {culprit} at task '{names[task]}'{where} "
            f"({int(bad.sum())} such cells in all); drop these rows, or, in from_arrays, mark them "
            "False in mask"
        )


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
        raise TasksError(f"the task name '{twice}' is given more than once; names must differ")
    return result


def plate_sizes(y: Tensor | None, columns: Mapping[str, Tensor], mask: Any) -> tuple[int, int]:
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
        shape = (*as_column("mask", mask).shape, 1)
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


def pad(rows: Sequence[Tensor], width: int) -> Tensor:
    """Stack tasks of shapes (n_i, ...) to (tasks, width, ...) in the widest of their dtypes.

    A cell beyond n_i holds a row of another task where its own has none, else its first.
    """
    full = [r for r in rows if len(r)] or list(rows)
    dtype = full[0].dtype
    for row in full[1:]:
        dtype = torch.promote_types(dtype, row.dtype)
        if row.shape[1:] != full[0].shape[1:]:
            raise TasksError(
                f"datapoints have shapes {tuple(full[0].shape[1:])} and {tuple(row.shape[1:])}; "
                "they must be of one shape in all tasks"
            )
    out = torch.zeros(len(rows), width, *full[0].shape[1:], dtype=dtype, device=full[0].device)
    for task, values in enumerate(rows):
        if len(values):
            out[task, : len(values)] = values
            out[task, len(values) :] = values[0]
        elif len(full[0]):
            out[task] = full[0][0]
    return out


def pad_column(name: str, values: Sequence[Any], sizes: Sequence[int], width: int) -> Tensor:
    """One column of ragged tasks: an array a task, padded to (tasks, width, ...), or a number."""
    if len(values) != len(sizes):
        raise TasksError(f"column '{name}' has {len(values)} tasks, but y has {len(sizes)}")
    rows = [as_column(name, v) for v in values]
    if all(row.dim() == 0 for row in rows):
        return torch.stack(rows)[:, None]
    for task, row in enumerate(rows):
        if row.dim() == 0 or len(row) != sizes[task]:
            raise TasksError(
                f"column '{name}' has shape {tuple(row.shape)} in task {task}, but y has "
                f"{sizes[task]} datapoints; give one row a datapoint, or one number for each task"
            )
    return pad(rows, width)


def fill_padding(column: Tensor, mask: Tensor) -> Tensor:
    """Copy a real row into every padded cell, so that densities and gradients stay finite there.

    The row is the task's own first, which agrees with the task's constants; an empty task gets
    another task's.
    """
    if bool(mask.all()):
        return column
    tasks = torch.arange(len(mask), device=mask.device)
    own = column[tasks, mask.int().argmax(1)]
    real = column[mask]
    other = real[0] if len(real) else torch.ones_like(column[0, 0])
    trailing = [1] * (column.dim() - 2)
    filler = torch.where(mask.any(1).reshape(-1, *trailing), own, other)
    return torch.where(mask.reshape(*mask.shape, *trailing), column, filler[:, None])
