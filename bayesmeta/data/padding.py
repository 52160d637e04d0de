"""Tasks of different sizes side by side: padded cells hold a copy of a real row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.precision import dtype_of_rows
from bayesmeta.data.values import Values, read_values


def pad(name: str, rows: Sequence[Values], width: int) -> Values:
    """Stack tasks of shapes (n_i, ...) to (tasks, width, ...) in a dtype that holds all of them.

    A cell beyond n_i holds a row of another task where its own has none, else its first.
    """
    full = [r for r in rows if len(r.tensor)] or list(rows)
    shape = full[0].tensor.shape[1:]
    for row in full:
        if row.tensor.shape[1:] != shape:
            raise TasksError(
                f"datapoints have shapes {tuple(shape)} and {tuple(row.tensor.shape[1:])}; "
                "they must be of one shape in all tasks"
            )
    dtype, own = dtype_of_rows(name, full)
    out = torch.zeros(len(rows), width, *shape, dtype=dtype, device=full[0].tensor.device)
    hidden = torch.zeros(out.shape, dtype=torch.bool)
    for task, (values, masked, _) in enumerate(rows):
        if len(values):
            out[task, : len(values)] = values
            out[task, len(values) :] = values[0]
        elif len(full[0].tensor):
            out[task] = full[0].tensor[0]
        if masked is not None:
            hidden[task, : len(values)] = masked
    return Values(out, hidden if any(r.hidden is not None for r in rows) else None, own)


def pad_column(name: str, values: Sequence[Any], sizes: Sequence[int], width: int) -> Values:
    """One column of ragged tasks: an array a task, padded to (tasks, width, ...), or a number."""
    if len(values) != len(sizes):
        raise TasksError(f"column '{name}' has {len(values)} tasks, but y has {len(sizes)}")
    rows = [read_values(name, v) for v in values]
    if all(row.tensor.dim() == 0 for row in rows):
        alone = [
            Values(r.tensor[None], None if r.hidden is None else r.hidden[None], r.own)
            for r in rows
        ]
        return pad(name, alone, 1)
    for task, row in enumerate(rows):
        if row.tensor.dim() == 0 or len(row.tensor) != sizes[task]:
            raise TasksError(
                f"column '{name}' has shape {tuple(row.tensor.shape)} in task {task}, but y has "
                f"{sizes[task]} datapoints; give one row a datapoint, or one number for each task"
            )
    return pad(name, rows, width)


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
