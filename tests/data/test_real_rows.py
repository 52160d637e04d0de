"""Statistics of the datapoints alone, and other rows to pad with."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.data.real_rows import rows_to_pad_with

SIZES = [4, 1, 0, 2]


def _tasks() -> bm.Tasks:
    rows = [torch.randn(n, 3, dtype=torch.float64) for n in SIZES]
    counts = [torch.arange(n) for n in SIZES]
    columns = {"x": rows, "count": counts, "task": [1.0, 2.0, 3.0, 4.0]}
    return bm.Tasks.from_list([row[:, 0] for row in rows], columns)


@pytest.mark.parametrize("width", [4, 7])
def test_statistics_are_those_of_the_real_rows(width: int) -> None:
    tasks = _tasks()
    wide = tasks.widen(width)
    for at, size in enumerate(SIZES):
        rows = tasks.x["x"][at, :size]
        torch.testing.assert_close(wide.sum("x")[at, 0], rows.sum(0))
        mean = rows.mean(0) if size else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(wide.mean("x")[at, 0], mean)
    assert wide.mean("x").shape == (4, 1, 3) and wide.sum("count").shape == (4, 1)
    assert wide.sum("count")[:, 0].tolist() == [6, 0, 0, 1]
    assert wide.mean("count").dtype == torch.float64
    # Negative control: over all cells they are others.
    assert not torch.allclose(wide.x["x"].mean(1, keepdim=True), wide.mean("x"))


def test_a_number_a_task_counts_for_each_datapoint() -> None:
    tasks = _tasks()
    assert tasks.mean("task")[:, 0].tolist() == [1, 2, 0, 4]
    assert tasks.sum("task")[:, 0].tolist() == [4, 2, 0, 8]


@pytest.mark.parametrize("more", [0, 1, 3])
def test_padding_gets_other_rows_of_its_task(more: int) -> None:
    mask = torch.tensor([[True, False, True, True], [False, True, False, False], [False] * 4])
    index = rows_to_pad_with(mask, more)
    assert index.shape == (3, 4 + more)
    cells = torch.arange(12).view(3, 4)
    assert torch.equal(index[:, :4][mask], cells[mask])
    assert bool(mask.flatten()[index].all())
    assert set(index[0].tolist()) <= {0, 2, 3} and set(index[1].tolist()) == {5}
    assert index[0, 1] == 2  # not the first, of which padding holds copies


def test_where_nothing_is_real_anything_will_do() -> None:
    assert rows_to_pad_with(torch.zeros(2, 3, dtype=torch.bool), 1).shape == (2, 4)
