"""Datapoints without padding: their statistics, and which of them may stand in padded cells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_real: ContextVar[Tensor | None] = ContextVar("real", default=None)
_asked: ContextVar[list[bool] | None] = ContextVar("asked", default=None)


def real_rows() -> Tensor | None:
    """Which cells are datapoints, for what pools over them; None where all are.

    (tasks, data) in a model; in a network, which sees one task at a time, (data,). A layer that
    asks is taken to read a task's datapoints together, and to know what it does.
    """
    asked = _asked.get()
    if asked is not None:
        asked.append(True)
    return _real.get()


@contextmanager
def asked_for_real_rows() -> Iterator[list[bool]]:
    """Not empty after the block where somebody within it asked."""
    found: list[bool] = []
    token = _asked.set(found)
    try:
        yield found
    finally:
        _asked.reset(token)


@contextmanager
def real_rows_are(mask: Tensor | None) -> Iterator[None]:
    """Within the block `real_rows` tells of these."""
    token = _real.set(mask)
    try:
        yield
    finally:
        _real.reset(token)


def masked_sum(column: Tensor, mask: Tensor) -> Tensor:
    """The sum over each task's datapoints, (tasks, 1, ...); one number a task counts for each."""
    real = mask.reshape(*mask.shape, *[1] * (column.dim() - 2))
    return torch.where(real, column, 0).sum(1, keepdim=True)


def masked_mean(column: Tensor, mask: Tensor) -> Tensor:
    """The mean over each task's datapoints, (tasks, 1, ...); 0 for a task without any."""
    count = mask.sum(1).clamp(min=1).reshape(-1, *[1] * (column.dim() - 1))
    return masked_sum(column, mask) / count


def rows_to_pad_with(mask: Tensor, more: int) -> Tensor:
    """For each cell, and `more` of them at the end, the position of a real one to copy into it.

    A real cell has its own position in the flattened (tasks * data,), padding one of the task's
    rows in turn, from the second on: another than the first, of which padding holds copies. An
    empty task takes those of all tasks.

    Returns:
        positions (tasks, data + more).
    """
    num_tasks, width = mask.shape
    own = torch.arange(mask.numel(), device=mask.device).view(num_tasks, width)
    sizes = mask.sum(1, keepdim=True)
    order = own.gather(1, torch.argsort(~mask, dim=1, stable=True))
    real = torch.cat([mask, mask.new_zeros(num_tasks, more)], 1)
    turn = (~real).cumsum(1)
    copied = order.gather(1, turn % sizes.clamp(min=1))
    everywhere = own[mask]
    if len(everywhere):
        copied = torch.where(sizes > 0, copied, everywhere[turn % len(everywhere)])
    return torch.where(real, torch.cat([own, copied[:, width:]], 1), copied)
