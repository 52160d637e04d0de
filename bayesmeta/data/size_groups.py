"""Ragged tasks in a few groups of like size, so that little is computed on padding."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks

# What one more group costs, in cells of (tasks, data): a few kernels more.
_GROUP_COST = 200


def group_by_size(tasks: Tasks, groups: int = 4) -> tuple[Tensor, list[Tasks]]:
    """Sort tasks by size and cut them where the fewest cells are left.

    Densities are sums over tasks, so a model run on each group and summed is the model.

    Returns:
        the order (tasks,), and the groups, which hold the tasks in that order one after the other.
    """
    if not tasks.ragged or tasks.query is not None:
        return torch.arange(tasks.num_tasks), [tasks]
    order = torch.argsort(tasks.sizes, stable=True)
    sizes = tasks.sizes[order].clamp(min=1).tolist()
    ordered = tasks.select(order)
    cuts = _cheapest_cuts(sizes, groups)
    return order, [
        ordered.select(torch.arange(a, b)).widen(sizes[b - 1])
        for a, b in zip([0, *cuts], [*cuts, len(sizes)], strict=True)
    ]


def lay_out(column: Tensor) -> Tensor:
    """The same values, with the longer of tasks and data next to each other in memory.

    Compiled loops run along memory: over tasks they end in one sum, over a few data in one a task.
    """
    if column.dim() < 2 or column.shape[0] < column.shape[1]:
        return column.contiguous()
    return column.movedim(0, -1).contiguous().movedim(-1, 0)


def _cheapest_cuts(sizes: list[int], groups: int) -> list[int]:
    """Where to cut ascending sizes into at most `groups` runs; a run costs length * its largest."""
    if groups == 1:
        return []
    # A cut pays only where the size changes.
    places = [i for i in range(1, len(sizes)) if sizes[i] != sizes[i - 1]][-200:]
    best: tuple[list[int], int] = ([], len(sizes) * sizes[-1] + _GROUP_COST)
    # cost[i] is the cheapest way to hold sizes[:i] in the runs so far.
    cost = {i: (i * sizes[i - 1] + _GROUP_COST, [i]) for i in places}
    for _ in range(groups - 1):
        for i, (spent, cuts) in cost.items():
            total = spent + (len(sizes) - i) * sizes[-1] + _GROUP_COST
            if total < best[1]:
                best = (cuts, total)
        cost = {
            j: min(
                (spent + (j - i) * sizes[j - 1] + _GROUP_COST, [*cuts, j])
                for i, (spent, cuts) in cost.items()
                if i < j
            )
            for j in places
            if any(i < j for i in cost)
        }
    return best[0]
