"""Values of datapoints find their way back to the rows of the data frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import bayesmeta as bm
from bayesmeta.data.by_row import by_row

FRAME = pd.DataFrame(
    {
        "school": ["b", "a", "b", "c", "a", "b"],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "y": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
    },
    index=[60, 5, 40, 30, 2, 10],
)


@pytest.fixture
def tasks() -> bm.Tasks:
    return bm.Tasks.from_frame(FRAME, task="school", y="y", x=["x"])


def test_a_part_keeps_the_order_of_the_frame(tasks: bm.Tasks) -> None:
    support, query = tasks.split(0.5, seed=3)
    chosen = tasks[["c", "b"]]
    narrow = tasks[["a", "b"]].widen(7).to(dtype=torch.float64)
    for some in (support, query, chosen, narrow, tasks.without_y(), tasks.with_query(tasks).query):
        values = {"x": some.x["x"], "twice": 2 * some.x["x"]}
        found = by_row(values, some)
        expected = FRAME[FRAME.index.isin(found.index)]
        assert len(found) == int(some.mask.sum()) and found.index.equals(expected.index)
        np.testing.assert_array_equal(found["x"], expected["x"])
        np.testing.assert_array_equal(found["twice"], 2 * expected["x"])
    labels = [by_row({"x": some.x["x"]}, some).index for some in (support, query)]
    assert labels[0].union(labels[1]).sort_values().equals(FRAME.index.sort_values())


def test_places_of_other_tasks_would_be_seen(tasks: bm.Tasks) -> None:
    wrong = replace(tasks[::-1], index=tasks.index)
    with pytest.raises(AssertionError):
        np.testing.assert_array_equal(by_row({"x": wrong.x["x"]}, wrong)["x"], FRAME["x"])


def test_without_a_frame_rows_are_those_of_the_tasks() -> None:
    tasks = bm.Tasks.from_list([[1.0, 2.0], [], [3.0]], names=["p", "q", "r"])
    assert tasks.index is None
    found = by_row({"mean": tasks.y}, tasks)
    assert found.index.names == ["task", "row"]
    assert found.index.tolist() == [("p", 0), ("p", 1), ("r", 0)]
    assert found["mean"].tolist() == [1.0, 2.0, 3.0]
