"""Sizes of a support: a number of datapoints, or a fraction of each task's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmeta as bm
from bayesmeta.data.selection import first_rows, support_sizes


@pytest.mark.parametrize(
    ("fraction", "sizes", "expected"),
    [
        (0.5, [0, 1, 2, 3, 4, 5, 6], [0, 1, 1, 2, 2, 3, 3]),
        (0.1, [2, 4, 5, 14, 15, 25], [1, 1, 1, 1, 2, 3]),
        (0.9, [2, 4, 5, 14, 15, 25], [1, 3, 4, 13, 14, 23]),
        (0.29, [50], [15]),  # 0.29 * 50 is 14.499999999999998
        (0.001, [1, 2, 1000], [1, 1, 1]),
        (np.float64(0.999), [1, 2, 100], [1, 1, 99]),
    ],
)
def test_a_fraction_is_of_each_task(fraction: Any, sizes: list[int], expected: list[int]) -> None:
    found = support_sizes(fraction, torch.tensor(sizes), list(map(str, sizes)))
    assert found.tolist() == expected and found.dtype == torch.int64


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=6),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
)
def test_both_parts_are_the_whole_and_neither_is_empty(
    sizes: list[int], fraction: float, seed: int
) -> None:
    marks = iter(range(1, 100))
    rows = [np.array([next(marks) for _ in range(n)], dtype="float64") for n in sizes]
    tasks = bm.Tasks.from_list(rows, {"x": [-r for r in rows]}).widen(max(1, *sizes) + 1)
    parts = tasks.split(fraction, seed)
    seen = [[y[m].tolist() for y, m in zip(p.y, p.mask, strict=True)] for p in parts]
    for i, row in enumerate(rows):
        assert sorted(seen[0][i] + seen[1][i]) == row.tolist()
        if len(row) > 1:
            assert len(seen[0][i]) >= 1 and len(seen[1][i]) >= 1
            assert abs(len(seen[0][i]) - fraction * len(row)) <= max(
                0.5 + 1e-8, 1 - fraction, fraction
            )
    for part in parts:
        assert torch.equal(part.x["x"][part.mask], -part.y[part.mask])


def test_a_whole_number_gives_what_it_gave() -> None:
    """Rows from one start, or each task's own, in the same order."""
    order = torch.tensor([[2, 0, 1], [1, 2, 0]])
    sizes = torch.tensor([1, 1])
    for start in (2, torch.tensor([2, 2])):
        rows, counts = first_rows(order, start, sizes, 2)
        assert rows.tolist() == [[1, 1], [0, 0]] and counts.tolist() == [[True, False]] * 2
    assert first_rows(order, torch.tensor([0, 1]), sizes, 2)[0].tolist() == [[2, 0], [2, 0]]
    tasks = bm.Tasks.from_arrays(torch.arange(20.0).reshape(2, 10))
    assert torch.equal(tasks.split(4, 1)[1].y, tasks.split(0.4, 1)[1].y)


@pytest.mark.parametrize("shots", [2.5, 1.0, 0.0, -0.5, float("nan"), True, "2", None, 1j])
def test_what_is_neither_count_nor_fraction_is_refused(shots: Any) -> None:
    tasks = bm.Tasks.from_arrays(torch.ones(2, 3))
    with pytest.raises(bm.TasksError, match=r"is neither a whole number .* shots=0.5 for half"):
        tasks.split(shots)
