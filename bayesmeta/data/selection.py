"""Which tasks and which datapoints: index arithmetic on masks and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def support_sizes(shots: float, sizes: Tensor, names: Sequence[str]) -> Tensor:
    """How many datapoints of each task a support gets, (tasks,).

    Args:
        shots: a number of datapoints, or a fraction of each task's: then to the nearest whole
            number, halves up, but at least one is in and one out where a task has two; a single one
            is in.
        sizes: datapoints of each task, (tasks,).
        names: of the tasks.

    Raises:
        TasksError: for what is neither, and where a task has fewer than `shots` datapoints.
    """
    if isinstance(shots, Integral) and not isinstance(shots, bool):
        _check_shots(int(shots), sizes, names)
        return torch.full_like(sizes, int(shots))
    if not (isinstance(shots, Real) and 0 < shots < 1):
        raise TasksError(
            f"shots={shots!r} is neither a whole number of datapoints nor a fraction between 0 and "
            "1; give shots=2 for two of each task, or shots=0.5 for half of each"
        )
    # And a little more, as 0.29 * 50 is 14.499999999999998.
    nearest = (float(shots) * sizes.double() + 0.5 + 1e-9).floor().long()
    return torch.minimum(nearest.clamp(min=1), (sizes - 1).clamp(min=1)).minimum(sizes)


def _check_shots(shots: int, sizes: Tensor, names: Sequence[str]) -> None:
    if shots < 0 or (sizes < shots).any():
        small = int((sizes < shots).nonzero()[0]) if shots >= 0 else 0
        raise TasksError(
            f"shots={shots} were asked for, but task '{names[small]}' has "
            f"{int(sizes[small])} datapoints; keep the larger tasks with "
            "tasks[tasks.sizes >= shots], or take fewer shots, or a fraction of each task, as "
            "shots=0.5"
        )


def first_rows(
    order: Tensor, start: int | Tensor, sizes: Tensor, width: int
) -> tuple[Tensor, Tensor]:
    """`width` rows of each task from `start` on in its order, and which of them count.

    Args:
        order: each task's rows, (tasks, data).
        start: how many rows of the order to leave out, of all tasks or of each (tasks,).
        sizes: how many of the rows that follow count, (tasks,).
        width: cells a task.
    """
    cell = torch.arange(width, device=order.device)
    first = torch.as_tensor(start, device=order.device).reshape(-1, 1)
    at = (first + cell).clamp(max=order.shape[1] - 1).expand(len(order), -1)
    return order.gather(1, at), cell < sizes[:, None]


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
