"""A query that is empty, or the support itself, is refused; one that is alike by chance is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch

import bayesmeta as bm
from bayesmeta.data.query_checks import check_query
from bayesmeta.models import normal_means

Y, X = torch.randn(4, 3), torch.randn(4, 3)
MASK = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 0]])
ROWS = pd.DataFrame({"t": list("aabb"), "y": [0.0, 0.0, 1.5, 1.5], "x": [1, 1, 2, 2]})


def held(y: Any = Y, x: Any = X, mask: Any = MASK) -> bm.Tasks:
    return bm.Tasks.from_arrays(y, {"x": x}, mask, names="abcd")


def episodes() -> bm.Tasks:
    return bm.Classes(torch.rand(8, 1), (4, 4), ("p", "q")).episodes(3, ways=2, shots=2, queries=2)


def of_frame(rows: list[int]) -> bm.Tasks:
    return bm.Tasks.from_frame(ROWS, task="t", y="y", x=["x"]).take_rows(
        torch.tensor(rows)[:, None], torch.ones(2, 1, dtype=torch.bool)
    )


SAME: dict[str, tuple[bm.Tasks, bm.Tasks]] = {
    "the same object": (tasks := bm.Tasks.from_arrays(torch.zeros(2, 2)), tasks),
    "the same outcomes": (tasks, replace(tasks)),
    "made again": (held(), held(Y.clone(), X.clone())),
    "in another dtype": (held(), held(Y.double(), X.double())),
    "of other padding": (held(), held().widen(5)),
    "episodes": (few := episodes(), replace(few)),
    "rows of a frame": (of_frame([0, 1]), of_frame([0, 1])),
    "many zeros and ones": tuple(
        bm.Tasks.from_arrays((torch.arange(60).reshape(6, 10) % 7 < 3).float(), names=range(6))
        for _ in range(2)
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_a_query_that_is_the_support_is_refused(case: str) -> None:
    with pytest.raises(bm.TasksError, match=r"the query is the support: .*tasks.split\(0.5\)"):
        check_query(*SAME[case])


ELSE: dict[str, Callable[[], tuple[bm.Tasks, bm.Tasks | None]]] = {
    "none": lambda: (held(), None),
    "a split": lambda: held(mask=None).split(1),
    "another y": lambda: (held(), held(y=Y + 1)),
    "another x": lambda: (held(), held(x=X + 1)),
    "another column": lambda: (held(), replace(held(), x={"z": X})),
    "more of it": lambda: (held(), held(mask=None)),
    "other tasks": lambda: (held(), replace(held(), names=tuple("abce"))),
    "episodes": lambda: (some := episodes(), some.query),
    "other rows of a frame that are alike": lambda: (of_frame([0, 0]), of_frame([1, 1])),
    "nothing but zeros": lambda: (
        bm.Tasks.from_arrays(torch.zeros(9, 5), names=range(9)),
        bm.Tasks.from_arrays(torch.zeros(9, 5), names=range(9)),
    ),
    "one shot of a coin": lambda: (
        bm.Tasks.from_arrays([[0], [1], [1]], names=range(3)),
        bm.Tasks.from_arrays([[0], [1], [1]], names=range(3)),
    ),
}


@pytest.mark.parametrize("case", ELSE)
def test_other_datapoints_are_a_query(case: str) -> None:
    check_query(*ELSE[case]())


def test_fit_says_so_before_it_begins() -> None:
    tasks = normal_means.tasks(num_tasks=4, num_data=6)
    support, query = tasks.split(3)
    empty = bm.Tasks.from_arrays(torch.ones(4, 1), mask=torch.zeros(4, 1), names=tasks.names)
    pair = {"theta": bm.Point(adam=bm.Adam(steps=2, compile=False)), "phi": bm.Laplace()}
    whole = bm.Tasks.from_arrays(torch.randn(4, 6)).split(6)
    for given, asked, words in (
        (tasks, tasks, "the query is the support"),
        (support.with_query(support), None, "the query is the support"),
        (whole[0], whole[1], r"the query holds no datapoints.*tasks.split\(0.5\)"),
        (replace(support, origin=None), replace(empty), "the query holds no datapoints"),
    ):
        with pytest.raises(bm.TasksError, match=words):
            bm.fit(normal_means.model, given, query=asked, progress=False, **pair)
    both = support.with_query(query)
    with pytest.raises(bm.TasksError, match="the query is the support"):
        bm.fit(
            normal_means.model,
            both,
            validation=query.with_query(query),
            progress=False,
            **pair,
        )
    bm.fit(normal_means.model, support, query=query, progress=False, **pair)
