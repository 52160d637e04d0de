"""Data frames as people bring them: each habit is right, or refused in words to act on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmeta as bm

FRAME = pd.DataFrame(
    {
        "pupil": ["b", "a", "c", "a", "b"],
        "y": [1.0, 2.0, 3.0, 4.0, 5.0],
        "x": [10, 20, 30, 40, 50],
    },
    index=[7, 5, 3, 1, -1],
)
TASKS = {"b": [1.0, 5.0], "a": [2.0, 4.0], "c": [3.0]}


def contents(tasks: bm.Tasks) -> dict[str, list[float]]:
    rows = [y[m].tolist() for y, m in zip(tasks.y, tasks.mask, strict=True)]
    return dict(zip(tasks.names, rows, strict=True))


def read(frame: pd.DataFrame, **more: Any) -> bm.Tasks:
    return bm.Tasks.from_frame(frame, **{"task": "pupil", "y": "y", "x": ["x"], **more})


def with_y(values: Any) -> Callable[[], pd.DataFrame]:
    return lambda: FRAME.assign(y=values)


RIGHT: dict[str, Callable[[], pd.DataFrame]] = {
    "nullable integers": with_y(pd.array([1, 2, 3, 4, 5], dtype="Int64")),
    "nullable floats": with_y(pd.array([1.0, 2, 3, 4, 5], dtype="Float64")),
    "objects": lambda: FRAME.astype({"y": object}),
    "sparse": with_y(pd.arrays.SparseArray([1.0, 2, 3, 4, 5])),
    "categories that are numbers": with_y(
        pd.Categorical([1, 2, 3, 4, 5], categories=[5, 4, 3, 2, 1])
    ),
    "small integers": lambda: FRAME.astype({"y": "uint8"}),
    "half precision": lambda: FRAME.astype({"y": "float16"}),
    "tasks as categories, one unused": lambda: FRAME.assign(
        pupil=pd.Categorical(FRAME.pupil, categories=["z", "c", "b", "a"])
    ),
    "an index of the same name": lambda: FRAME.set_index("pupil", drop=False),
    "an index of two levels": lambda: FRAME.set_index(["x", "y"], drop=False),
}


@pytest.mark.parametrize("habit", RIGHT)
def test_habits_that_are_right(habit: str) -> None:
    tasks = read(RIGHT[habit]())
    assert contents(tasks) == TASKS
    assert tasks.x["x"].dtype == torch.int64


def test_nullable_truth_values_are_zeros_and_ones() -> None:
    tasks = read(FRAME.assign(y=pd.array([True, False, True, True, False], dtype="boolean")))
    assert contents(tasks) == {"b": [1.0, 0.0], "a": [0.0, 1.0], "c": [1.0]}


MISSING = pd.array([1, 2, 3, None, 5], dtype="Int64")
WORDS: dict[str, tuple[Callable[[], Any], str]] = {
    "NA of integers": (lambda: read(FRAME.assign(y=MISSING)), "'y' is nan at task 'a', row 1"),
    "NA of floats": (
        lambda: read(FRAME.assign(y=MISSING.astype("Float64"))),
        "'y' is nan at task 'a', row 1",
    ),
    "NA of truth values": (
        lambda: read(FRAME.assign(x=(MISSING > 2).astype("boolean"))),
        "'x' is nan at task 'a', row 1",
    ),
    "text": (
        lambda: read(FRAME.astype({"y": "string"})),
        "'y' has dtype .* and holds str '1.0'.*pandas.to_numeric",
    ),
    "categories of text": (
        lambda: read(FRAME.assign(x=pd.Categorical(list("uvuvu")))),
        "'x' has dtype .* and holds str 'u'.*get_dummies.*factorize",
    ),
    "durations": (
        lambda: read(FRAME.assign(y=pd.to_timedelta(FRAME.y, unit="D"))),
        "'y' has dtype timedelta64.*durations as floats",
    ),
    "complex": (lambda: read(FRAME.astype({"y": complex})), "'y' has dtype complex128.*apart"),
    "two columns of one name": (
        lambda: read(pd.concat([FRAME, FRAME[["y"]]], axis=1)),
        "'y' stands for a table of 2 columns.*rename",
    ),
    "two tasks columns": (
        lambda: read(pd.concat([FRAME, FRAME[["pupil"]]], axis=1)),
        "'pupil' stands for a table of 2 columns.*rename",
    ),
    "columns of two levels": (
        lambda: read(pd.concat({"pupil": FRAME[["pupil"]], "y": FRAME[["y", "x"]]}, axis=1), x=[]),
        "'pupil' stands for a table of 1 columns.*rename",
    ),
    "tasks in the index": (
        lambda: read(FRAME.set_index("pupil")),
        r"no column 'pupil'.*frame.reset_index\(\)",
    ),
    "1 and '1'": (
        lambda: read(FRAME.assign(pupil=pd.Series([1, "1", 2, 2, 1], FRAME.index, dtype=object))),
        r"'1' is given more than once \(as int and as str\).*astype\(str\)",
    ),
    "names that join to one": (
        lambda: read(
            FRAME.assign(pupil=list("aabbb"), room=["a, b", "b", "c", "c", "c"]).replace(
                {"pupil": {"b": "a, a"}, "room": {"c": "b", "a, b": "a, b"}}
            ),
            task=["pupil", "room"],
        ),
        "the task name 'a, a, b' is given more than once",
    ),
    "a column on both levels": (lambda: read(FRAME, task_x=["x"]), "'x' is in x and in task_x"),
    "no task column": (lambda: read(FRAME, task=[]), r"task=\[\] names no column"),
    "a room that is missing": (
        lambda: read(FRAME.assign(room=[1, 1, np.nan, 1, 1]), task=["pupil", "room"]),
        "task column 'room' is missing in row 3",
    ),
    "a list of lists as y": (lambda: read(FRAME, y=[["y"]]), r"\['y'\] is a list where the name"),
    "no list as x": (lambda: read(FRAME, x=None), "x=None is no list of columns' names; leave it"),
    "rows of none": (lambda: read(FRAME[:0], task=["pupil", "x"]), "the frame has no rows"),
}


@pytest.mark.parametrize("habit", WORDS)
def test_habits_that_are_refused_in_words(habit: str) -> None:
    make, words = WORDS[habit]
    with pytest.raises(bm.TasksError) as caught:
        make()
    assert re.search(words, str(caught.value)), caught.value


def test_of_several_task_columns_each_combination_is_a_task() -> None:
    frame = FRAME.assign(room=[1, 1, 2, 2, 1])
    tasks = read(frame, task=["pupil", "room"])
    assert contents(tasks) == {"b, 1": [1.0, 5.0], "a, 1": [2.0], "c, 2": [3.0], "a, 2": [4.0]}
    assert contents(read(frame, task=["pupil"])) == TASKS


@settings(max_examples=40, deadline=None)
@given(ids=st.lists(st.tuples(st.integers(0, 3), st.sampled_from("xyz")), min_size=1, max_size=12))
def test_tasks_are_those_of_a_dictionary(ids: list[tuple[int, str]]) -> None:
    frame = pd.DataFrame(ids, columns=["a", "b"]).assign(y=np.arange(len(ids), dtype=float))
    expected: dict[str, list[float]] = {}
    for row, (a, b) in enumerate(ids):
        expected.setdefault(f"{a}, {b}", []).append(float(row))
    tasks = bm.Tasks.from_frame(frame, task=["a", "b"], y="y", task_x=["a"])
    assert contents(tasks) == expected and list(tasks.names) == list(expected)
    assert tasks.x["a"][:, 0].tolist() == [int(name[0]) for name in expected]


def test_several_outcomes_stand_side_by_side() -> None:
    frame = FRAME.assign(won=[1, 0, 1, 1, 0])
    tasks = bm.Tasks.from_frame(frame, task="pupil", y=["y", "won"], x=["x"])
    assert tasks.y.shape == (3, 2, 2)
    alone = bm.Tasks.from_frame(frame, task="pupil", y="won", x=["x"])
    assert torch.equal(tasks.y[..., 1], alone.y.to(tasks.dtype))
    assert torch.equal(tasks.y[..., 0][tasks.mask], torch.tensor([1.0, 5, 2, 4, 3]).to(tasks.dtype))
    one = bm.Tasks.from_frame(frame, task="pupil", y=["y"], x=["x"])
    assert one.y.shape == (3, 2, 1)


def test_what_is_missing_is_refused_with_the_way_out() -> None:
    gap = FRAME.assign(won=[1, 0, np.nan, 1, 0], x=[1.0, np.nan, 2.0, 3.0, 4.0])
    with pytest.raises(bm.TasksError, match=r"one outcome of several is missing.*poutine\.mask"):
        bm.Tasks.from_frame(gap, task="pupil", y=["y", "won"])
    with pytest.raises(bm.TasksError, match=r"'x' is nan at task 'a', row 0.*obs_mask="):
        bm.Tasks.from_frame(gap, task="pupil", y="y", x=["x"])
    with pytest.raises(bm.TasksError, match=r"'y' is nan.*drop these rows") as error:
        bm.Tasks.from_frame(gap, task="pupil", y="won")
    assert "obs_mask" not in str(error.value) and "poutine" not in str(error.value)


def test_no_list_is_refused_in_words() -> None:
    with pytest.raises(bm.TasksError, match="from_list got y=None; give a list of one array"):
        bm.Tasks.from_list(None)
