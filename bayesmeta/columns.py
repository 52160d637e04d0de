"""Arrays of any kind to checked, padded columns, with errors that name column, task and row."""

from __future__ import annotations

from collections.abc import Sequence
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
                "categories as integers (pandas.factorize) and dates as floats first"
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


def check_finite(name: str, column: Tensor, mask: Tensor, names: Sequence[str]) -> None:
    """Raise for the first NaN or inf in a real cell, naming column, task and row."""
    if not column.is_floating_point():
        return
    bad = (
        ~torch.isfinite(column.flatten(2)).all(-1) if column.dim() > 2 else ~torch.isfinite(column)
    )
    # A column of width one belongs to its task and has to be finite even where a task is empty.
    bad = bad & mask if column.shape[1] == mask.shape[1] else bad
    if bad.any():
        task, row = (int(i) for i in bad.nonzero()[0])
        value = column[task, row].flatten()
        culprit = value[~torch.isfinite(value)][0].item()
        raise TasksError(
            f"column '{name}' is {culprit} at task '{names[task]}', row {row} "
            f"({int(bad.sum())} such cells in all); drop these rows, or mark them False in mask"
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


def pad(rows: Sequence[Tensor], width: int) -> Tensor:
    """Stack tasks of shapes (n_i, ...) to (tasks, width, ...); the cells beyond n_i hold zeros."""
    out = rows[0].new_zeros(len(rows), width, *rows[0].shape[1:])
    for task, values in enumerate(rows):
        out[task, : len(values)] = values
    return out


def fill_padding(column: Tensor, mask: Tensor) -> Tensor:
    """Copy a real row into every padded cell, so that densities and gradients stay finite there."""
    if column.shape[1] != mask.shape[1] or bool(mask.all()):
        return column
    real = column[mask]
    filler = real[0] if len(real) else torch.ones_like(column[0, 0])
    return torch.where(mask.reshape(*mask.shape, *[1] * (column.dim() - 2)), column, filler)
