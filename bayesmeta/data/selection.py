"""Which tasks and which datapoints: index arithmetic on masks and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.arguments import check_whole
from bayesmeta.data.columns import TasksError


def positions(which: Any, names: Sequence[str]) -> Tensor:
    """Positions of tasks given by position, name, slice, a list of either, or a bool mask.

    Raises:
        KeyError: for a name that no task has.
        IndexError: for a position that there is not, or a mask of another length.
    """
    if isinstance(which, str | Integral):
        which = [which]
    elif isinstance(which, slice):
        which = range(len(names))[which]
    elif isinstance(which, Tensor):
        which = which.reshape(-1).tolist()
    keys = list(which)
    if keys and all(isinstance(key, bool | np.bool_) for key in keys):
        if len(keys) != len(names):
            raise IndexError(f"a mask of length {len(keys)} was given for {len(names)} tasks")
        keys = [i for i, key in enumerate(keys) if key]
    return torch.tensor([_position(key, names) for key in keys], dtype=torch.long)


def _position(key: Any, names: Sequence[str]) -> int:
    if isinstance(key, str):
        if key not in names:
            raise KeyError(f"no task is named '{key}'; names are {list(names[:8])} ...")
        return names.index(key)
    if not -len(names) <= key < len(names):
        raise IndexError(f"task {key} was asked for, but there are {len(names)} tasks")
    return int(key) % len(names)


def check_shots(shots: int, sizes: Tensor, names: Sequence[str]) -> None:
    """Refuse more datapoints a task than there are.

    Raises:
        TasksError: naming a task that has fewer.
    """
    check_whole("split", "shots", shots, least=0)
    if (sizes < shots).any():
        small = int((sizes < shots).nonzero()[0])
        raise TasksError(
            f"shots={shots} were asked for, but task '{names[small]}' has "
            f"{int(sizes[small])} datapoints; keep the larger tasks with "
            "tasks[tasks.sizes >= shots], or take fewer shots"
        )


def first_rows(order: Tensor, start: int, sizes: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """`width` rows of each task from `start` on in its order, and which of them count.

    Args:
        order: each task's rows, (tasks, data).
        start: how many rows of the order to leave out.
        sizes: how many of the rows that follow count, (tasks,).
        width: cells a task.
    """
    cell = torch.arange(width, device=order.device)
    return order[:, (start + cell).clamp(max=order.shape[1] - 1)], cell < sizes[:, None]


def shuffled_rows(mask: Tensor, seed: int) -> Tensor:
    """Each task's rows (tasks, data): the real ones first, in random order, then the padding."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(mask.shape, generator=generator, dtype=torch.float64, device="cpu")
    return order_of(mask, noise)


def order_of(mask: Tensor, chances: Tensor) -> Tensor:
    """Each task's rows (tasks, data) by numbers between 0 and 1, those of the padding last."""
    return torch.argsort(chances.to(mask.device) + 2.0 * ~mask, dim=1)


def epochs(num_tasks: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless positions (size,): shuffled epochs, one joined to the next."""
    order = torch.empty(0, dtype=torch.long, device="cpu")
    while True:
        if len(order) < size:
            order = torch.cat([order, torch.randperm(num_tasks, generator=generator, device="cpu")])
        yield order[:size]
        order = order[size:]
