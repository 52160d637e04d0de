"""A query holds datapoints, and others than the support: else nothing is scored, or known ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.indexed_columns import IndexedColumn
from bayesmeta.data.tasks import Tasks

# Whole numbers, such as few outcomes of 0 and 1, may be equal by chance: once in so many times.
_BY_CHANCE = 1e6


def check_query(support: Tasks, query: Tasks | None) -> None:
    """Refuse a query that is empty, or the support itself.

    Raises:
        TasksError: saying which it is, and how a query is made.
    """
    if query is None:
        return
    if not bool(query.mask.any()):
        raise TasksError(
            "the query holds no datapoints, so that nothing would score what is learned; a split "
            "leaves none where shots takes all of each task, and mask= where it is False "
            "throughout: take fewer shots, support, query = tasks.split(0.5), or leave query= out"
        )
    if query is support or _are_same_rows(support, query):
        raise TasksError(
            "the query is the support: it holds the same datapoints of the same tasks, from which "
            "phi was inferred, so that it would reward learning by heart; hold some out, support, "
            "query = tasks.split(0.5), or leave query= out, to fit to all datapoints"
        )


def _are_same_rows(support: Tasks, query: Tasks) -> bool:
    if support.names != query.names or not torch.equal(support.sizes.cpu(), query.sizes.cpu()):
        return False
    if support.index is not None and query.index is not None:
        one, other = support.index.of(support.mask)[0], query.index.of(query.mask)[0]
        if support.index.labels.is_unique and support.index.labels.equals(query.index.labels):
            return bool((one == other).all())
    if isinstance(support.x, IndexedColumn) and isinstance(query.x, IndexedColumn):
        return support.x.table is query.x.table and torch.equal(support.x.index, query.x.index)
    if support.x.keys() != query.x.keys() or support.y is None or query.y is None:
        return False
    ours, theirs = (_rows(tasks) for tasks in (support, query))
    same = ours.shape == theirs.shape and torch.equal(ours, theirs)
    return same and (support.y is query.y or not _may_be_chance(ours))


def _rows(tasks: Tasks) -> Tensor:
    """The datapoints one below the other, (datapoints, numbers)."""
    assert tasks.y is not None
    columns = [
        column.expand(-1, tasks.num_data, *column.shape[2:]) if column.shape[1] == 1 else column
        for column in (*tasks.x.values(), tasks.y)
    ]
    count = int(tasks.mask.sum())
    return torch.cat([c[tasks.mask].reshape(count, -1).double().cpu() for c in columns], 1)


def _may_be_chance(rows: Tensor) -> bool:
    """Whether other draws of these whole numbers are often enough the same, by their entropy."""
    if not torch.equal(rows, rows.round()):
        return False
    counts = torch.unique(rows, dim=0, return_counts=True)[1].double()
    return float((counts * (counts.sum() / counts).log()).sum()) < math.log(_BY_CHANCE)
