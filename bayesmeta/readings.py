"""Readings: a task's datapoints as rows of numbers that an encoder reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bayesmeta.tasks import Tasks


def rows_of(tasks: Tasks) -> Tensor:
    """All columns and y side by side, (tasks, data, numbers); what is of the task is repeated."""
    columns = [*tasks.x.values(), *([] if tasks.y is None else [tasks.y])]
    flat = [c.to(tasks.dtype).reshape(*c.shape[:2], -1) for c in columns]
    return torch.cat([c.expand(-1, tasks.num_data, -1) for c in flat], -1)


def moments(parts: Sequence[Tasks]) -> tuple[Tensor, Tensor]:
    """Mean and sd of each number over all datapoints; an sd of 1 where nothing varies."""
    rows = torch.cat([rows_of(part)[part.mask] for part in parts])
    sd, mean = torch.std_mean(rows, 0, correction=0)
    return mean, torch.where(sd > 0, sd, 1.0)
