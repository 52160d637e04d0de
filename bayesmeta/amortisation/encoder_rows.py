"""A task's datapoints as rows of numbers, as an encoder reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks


def rows_of(tasks: Tasks, without: Collection[str]) -> Tensor:
    """Columns and y side by side, (tasks, data, numbers); what is of the task is repeated.

    Args:
        tasks: the data.
        without: names of columns that are left out.
    """
    columns = [tasks.x[name] for name in sorted(set(tasks.x).difference(without))]
    columns += [] if tasks.y is None else [tasks.y]
    flat = [c.to(tasks.dtype).reshape(*c.shape[:2], -1) for c in columns]
    return torch.cat([c.expand(-1, tasks.num_data, -1) for c in flat], -1)


def moments(parts: Sequence[Tasks], without: Collection[str]) -> tuple[Tensor, Tensor]:
    """Mean and sd of each number over all datapoints; an sd of 1 where nothing varies."""
    rows = torch.cat([rows_of(part, without)[part.mask] for part in parts])
    if not len(rows):
        return rows.new_zeros(rows.shape[1]), rows.new_ones(rows.shape[1])
    sd, mean = torch.std_mean(rows, 0, correction=0)
    return mean, torch.where(sd > 0, sd, 1.0)
