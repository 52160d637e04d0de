"""Tasks: what goes in comes out, ragged or not, and what cannot be used is named."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmeta as bm

ROWS = [[0.5, 1.5, 2.5], [10.0], [], [30.0, 31.0]]
NAN, INF = float("nan"), float("inf")


def ragged() -> bm.Tasks:
    """Four tasks of 3, 1, 0 and 2 datapoints, each with its own constant and index."""
    rows = [np.asarray(r, dtype="float64") for r in ROWS]
    return bm.Tasks.from_list(
        rows, {"x": [-r for r in rows], "k": [r.astype(int) for r in rows]}, list("abcd")
    )


def contents(tasks: bm.Tasks) -> list[list[float]]:
    """The real rows of each task, sorted."""
    return [sorted(y[m].tolist()) for y, m in zip(tasks.y, tasks.mask, strict=True)]


def test_ragged_tasks_are_padded_and_masked() -> None:
    tasks = ragged()
    assert contents(tasks) == ROWS
    assert tasks.sizes.tolist() == [3, 1, 0, 2]
    assert (tasks.num_tasks, tasks.num_data, len(tasks), tasks.ragged) == (4, 3, 4, True)
    assert tasks.dtype == tasks.y.dtype == torch.float64
    assert tasks.x["k"].dtype == torch.int64
    # Padding copies the task's own row, so that it agrees with the task's other columns.
    assert tasks.y[1].tolist() == [10.0, 10.0, 10.0]
    assert torch.equal(tasks.x["x"], -tasks.y)
    assert set(tasks.y[2].tolist()) <= set(itertools.chain(*ROWS))
    assert "4 tasks of 0 to 3" in repr(tasks)


def test_dtypes_of_the_first_task_do_not_decide() -> None:
    tasks = bm.Tasks.from_list([[], [1, 2], np.array([0.1, 2.5])])
    assert contents(tasks) == [[], [1.0, 2.0], [0.1, 2.5]]
    assert tasks.dtype == torch.float64
    empty_first = bm.Tasks.from_list([np.zeros((0,)), np.ones((2, 3))])
    assert empty_first.y.shape == (2, 2, 3)


def test_trailing_shapes_and_integer_outcomes() -> None:
    tasks = bm.Tasks.from_arrays(np.ones((2, 3, 4), dtype=int), {"image": np.ones((2, 3, 5, 5))})
    assert tasks.y.shape == (2, 3, 4)
    assert tasks.y.dtype == torch.float64
    assert tasks.x["image"].shape == (2, 3, 5, 5)
    assert bm.Tasks.from_arrays([[1, 0]]).y.dtype == torch.get_default_dtype()


def test_constants_of_empty_tasks_survive_narrow_data() -> None:
    """A (tasks, 1) column beside one cell of data is its task's own, empty or not."""
    y, mask = np.array([[1.0], [2.0]]), np.array([[True], [False]])
    tasks = bm.Tasks.from_arrays(y, {"u": np.array([[5.0], [7.0]])}, mask)
    for same in (tasks, tasks.widen(3), tasks.widen(3).widen(1), tasks.split(0)[0]):
        assert same.x["u"].tolist() == [[5.0], [7.0]]


def test_from_frame_keeps_names_order_and_precision() -> None:
    frame = pd.DataFrame(
        {
            "county": ["z", "a", "z", "m"],
            "y": [0.1, 0.2, 0.3, 0.4],
            "floor": [0, 1, 1, 0],
            "u": [1 / 3, 2 / 3, 1 / 3, 0.1],
            "kind": [7, 8, 7, 9],
        },
        index=[9, 8, 7, 6],
    )
    tasks = bm.Tasks.from_frame(frame, "county", "y", x=["floor"], task_x=["u", "kind"])
    assert tasks.names == ("z", "a", "m")
    assert contents(tasks) == [[0.1, 0.3], [0.2], [0.4]]
    assert tasks.dtype == torch.float64
    assert tasks.x["u"].tolist() == [[1 / 3], [2 / 3], [0.1]]
    assert tasks.x["kind"].tolist() == [[7], [8], [9]]
    assert tasks.x["kind"].dtype == tasks.x["floor"].dtype == torch.int64
    counts = bm.Tasks.from_frame(frame, "county", "floor", task_x=["u"])
    assert counts.x["u"].tolist() == [[1 / 3], [2 / 3], [0.1]]
    assert counts.y.dtype == torch.float64


def test_selection() -> None:
    tasks = ragged().with_query(ragged())
    cases: list[tuple[Any, str]] = [
        (3, "d"),
        (-1, "d"),
        (np.int64(1), "b"),
        ("b", "b"),
        (slice(1, 3), "bc"),
        (slice(None, None, -1), "dcba"),
        ([2, 0], "ca"),
        (["d", "a"], "da"),
        (["d", 0], "da"),
        ([True, False, False, True], "ad"),
        (np.array([False, True, False, False]), "b"),
        (torch.tensor([True, False, True, False]), "ac"),
        (torch.tensor([3, -4]), "da"),
        (torch.tensor(2), "c"),
        (tasks.sizes >= 2, "ad"),
    ]
    for which, names in cases:
        chosen = tasks[which]
        assert "".join(chosen.names) == "".join(chosen.query.names) == names, which
        assert contents(chosen) == [ROWS["abcd".index(n)] for n in names]
    for which, error in [(4, IndexError), ("e", KeyError), ([True], IndexError)]:
        with pytest.raises(error, match=r"e|4|1"):
            tasks[which]
    with pytest.raises(bm.TasksError, match="at least one"):
        tasks[[]]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=6),
    shots=st.integers(0, 6),
    seed=st.integers(0, 5),
)
def test_split_is_disjoint_whole_and_seeded(sizes: list[int], shots: int, seed: int) -> None:
    marks = iter(range(1, 100))
    rows = [np.array([next(marks) for _ in range(n)], dtype="float64") for n in sizes]
    tasks = bm.Tasks.from_list(rows, {"x": [10 * r for r in rows]}).widen(max(1, *sizes) + 1)
    if min(sizes) < shots:
        with pytest.raises(bm.TasksError, match=f"shots={shots}.*task '.*datapoints"):
            tasks.split(shots, seed)
        return
    support, query = tasks.split(shots, seed)
    assert support.sizes.tolist() == [shots] * len(sizes)
    for i, row in enumerate(rows):
        assert sorted(contents(support)[i] + contents(query)[i]) == row.tolist()
    for part in (support, query):
        assert torch.equal(part.x["x"][part.mask], 10 * part.y[part.mask])
        assert part.names == tasks.names
    again = tasks.split(shots, seed)
    assert torch.equal(again[0].y, support.y)
    assert torch.equal(again[1].mask, query.mask)


def test_split_depends_on_the_seed_alone() -> None:
    tasks = bm.Tasks.from_arrays(np.arange(60.0).reshape(3, 20))
    first, other = tasks.split(5, seed=0)[0].y, tasks.split(5, seed=1)[0].y
    assert not torch.equal(first, other)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(tasks.split(5, seed=0)[0].y, first)
    finally:
        torch.set_default_dtype(torch.float32)
    with pytest.raises(ValueError, match="shots=-1"):
        tasks.split(-1)


@settings(max_examples=30, deadline=None)
@given(num_tasks=st.integers(1, 12), size=st.integers(1, 12))
def test_batches_visit_every_task_once_an_epoch(num_tasks: int, size: int) -> None:
    tasks = bm.Tasks.from_arrays(np.ones((num_tasks, 1)))
    batches = tasks.batches(size, torch.Generator().manual_seed(0))
    step = min(size, num_tasks)
    stream = torch.cat(list(itertools.islice(batches, 3 * num_tasks))).tolist()
    assert len(stream) == 3 * num_tasks * step
    for start in range(0, len(stream) - num_tasks + 1, num_tasks):
        assert sorted(stream[start : start + num_tasks]) == list(range(num_tasks))


def test_widen_narrows_padding_only_and_keeps_the_query() -> None:
    tasks = ragged().with_query(ragged())
    wide = tasks.widen(7)
    assert contents(wide) == ROWS
    assert wide.query is tasks.query
    assert torch.equal(wide.widen(3).y, tasks.y)
    with pytest.raises(bm.TasksError, match="2 cells cannot hold 3"):
        tasks.widen(2)
    holes = bm.Tasks.from_arrays(np.arange(4.0)[None], mask=[[False, True, False, True]])
    assert holes.widen(2).y.tolist() == [[1.0, 3.0]]


def test_tensors_and_back_and_dtypes() -> None:
    tasks = ragged().with_query(ragged())
    back = tasks.with_tensors(tasks.tensors())
    assert torch.equal(back.y, tasks.y)
    assert torch.equal(back.query.x["x"], tasks.query.x["x"])
    half = tasks.to(dtype=torch.float32)
    assert half.dtype == half.y.dtype == half.query.dtype == torch.float32
    assert half.x["k"].dtype == torch.int64
    assert tasks.without_y().y is None
    assert tasks.without_y().dtype == torch.float64
    assert bm.Tasks.from_arrays([[1.0]]).to(dtype=torch.float64).without_y().dtype == torch.float64
    with pytest.raises(bm.TasksError, match="same, in the same order"):
        tasks.with_query(tasks[:2])


def test_inputs_are_not_changed() -> None:
    y, mask = torch.tensor([[1.0, NAN], [2.0, 3.0]]), torch.tensor([[True, False], [True, True]])
    tasks = bm.Tasks.from_arrays(y, mask=mask)
    assert torch.isnan(y[0, 1])
    assert tasks.y.tolist() == [[1.0, 1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("which", "words"),
    [
        (
            slice(5),
            r"has 6 tasks and query has 5; .* 5, where .* '5' and query has no task",
        ),
        ([0, 1, 2, 3, 5], r"position 4, where support has '4' and query has '5'; they must be"),
    ],
)
def test_a_query_of_other_tasks_names_the_first_that_differs(which: Any, words: str) -> None:
    tasks = bm.Tasks.from_arrays(np.ones((6, 2)))
    with pytest.raises(bm.TasksError, match=words):
        tasks.with_query(tasks[which])


FRAME = pd.DataFrame({"t": ["a", "a", "b"], "y": [1.0, 2.0, 3.0], "u": [1.0, 2.0, 3.0]})
GOOD = np.ones((3, 2))
BAD: dict[str, tuple[Any, str]] = {
    "nan": (
        lambda: bm.Tasks.from_arrays([[1.0, 2.0], [3.0, NAN]], names=["a", "b"]),
        r"column 'y' is nan at task 'b', row 1",
    ),
    "inf in x": (
        lambda: bm.Tasks.from_arrays(GOOD, {"w": [[1, 2], [INF, 2], [3, 4]]}),
        r"column 'w' is inf at task '1', row 0",
    ),
    "nan in a trailing cell": (
        lambda: bm.Tasks.from_arrays(GOOD, {"w": np.full((3, 2, 2), NAN)}),
        r"'w' is nan at task '0', row 0 of that task \(6 such",
    ),
    "nan of a task": (
        lambda: bm.Tasks.from_arrays(GOOD, {"u": [[1.0], [NAN], [2.0]]}),
        r"'u' is nan at task '1' \(",
    ),
    "nan in a list": (
        lambda: bm.Tasks.from_list([[1.0], [2.0, -INF]], names=["a", "b"]),
        r"'y' is -inf at task 'b', row 1",
    ),
    "nan in a frame": (
        lambda: bm.Tasks.from_frame(FRAME.assign(y=[1.0, NAN, 3.0]), "t", "y"),
        r"'y' is nan at task 'a', row 1 of that task \(",
    ),
    "x without a name": (
        lambda: bm.Tasks.from_arrays(GOOD, torch.ones(3, 2)),
        r"a Tensor was given as x.*give x=\{\"name\": values\}",
    ),
    "x without a name in a list": (
        lambda: bm.Tasks.from_list([[1.0]], [[2.0]]),
        r"a list was given as x.*give x=\{\"name\": values\}",
    ),
    "strings": (lambda: bm.Tasks.from_arrays([["a", "b"]]), r"'y' has dtype <U1.*factorize"),
    "strings in a frame": (
        lambda: bm.Tasks.from_frame(FRAME.assign(y=["u", "v", "w"]), "t", "y"),
        r"'y' has dtype .*factorize",
    ),
    "complex": (lambda: bm.Tasks.from_arrays(torch.ones(1, 1) * 1j), "complex"),
    "ragged arrays": (
        lambda: bm.Tasks.from_arrays([[1.0], [2.0, 3.0]]),
        "'y' is ragged.*from_list",
    ),
    "zero tasks": (lambda: bm.Tasks.from_arrays(np.ones((0, 2))), "no tasks"),
    "zero tasks in a list": (lambda: bm.Tasks.from_list([]), "no tasks"),
    "zero rows": (lambda: bm.Tasks.from_frame(FRAME[:0], "t", "y"), "no rows"),
    "no width": (lambda: bm.Tasks.from_arrays(np.ones((2, 0))), "data = 0"),
    "nothing": (lambda: bm.Tasks.from_arrays(None), "neither"),
    "y (tasks,)": (
        lambda: bm.Tasks.from_arrays(np.ones(3), {"x": GOOD}),
        r"'y' has shape \(3,\).*\(tasks, data.*y\[:, None\]",
    ),
    "y (tasks, 1)": (
        lambda: bm.Tasks.from_arrays(np.ones((3, 1)), {"x": GOOD}),
        r"'x' has shape \(3, 2\).*\(tasks, data\) = \(3, 1\)",
    ),
    "x of other tasks": (
        lambda: bm.Tasks.from_arrays(GOOD, {"x": np.ones((2, 2))}),
        r"'x' has shape \(2, 2\).*\(3, 2",
    ),
    "x transposed": (
        lambda: bm.Tasks.from_arrays(GOOD, {"x": GOOD.T}),
        r"'x' has shape \(2, 3\).*\(3, 2",
    ),
    "mask": (lambda: bm.Tasks.from_arrays(GOOD, mask=np.ones((3, 1))), r"mask has shape \(3, 1\)"),
    "mask (tasks,)": (
        lambda: bm.Tasks.from_arrays(GOOD, mask=np.ones(3)),
        r"mask has shape \(3,\)",
    ),
    "mask alone": (lambda: bm.Tasks.from_arrays(None, mask=np.ones(3)), r"mask has shape \(3,\)"),
    "names": (lambda: bm.Tasks.from_arrays(GOOD, names=["a"]), "1 names.*3 tasks"),
    "names twice": (lambda: bm.Tasks.from_arrays(GOOD, names=[1, "1", 2]), "'1'.*more than once"),
    "list of numbers": (lambda: bm.Tasks.from_list([1.0, 2.0]), "one array a task"),
    "rows disagree": (
        lambda: bm.Tasks.from_list([[1.0], [2.0]], {"x": [[1.0], [2.0, 3.0]]}),
        r"'x' has shape \(2,\) in task 1, but y has 1",
    ),
    "tasks disagree": (
        lambda: bm.Tasks.from_list([[1.0], [2.0]], {"x": [[1.0]]}),
        "'x' has 1 tasks, but y has 2",
    ),
    "features disagree": (
        lambda: bm.Tasks.from_list([np.ones((1, 2)), np.ones((1, 3))]),
        r"shapes \(2,\) and \(3,\)",
    ),
    "no column": (lambda: bm.Tasks.from_frame(FRAME, "t", "z"), "no column 'z'.*'y'"),
    "task missing": (
        lambda: bm.Tasks.from_frame(FRAME.assign(t=["a", None, "b"]), "t", "y"),
        "'t' is missing in row 1",
    ),
    "varies": (
        lambda: bm.Tasks.from_frame(FRAME, "t", "y", task_x=["u"]),
        "'u' takes 2 values in task 'a'.*give it in x",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_are_named(case: str) -> None:
    make, words = BAD[case]
    with pytest.raises(bm.TasksError) as caught:
        make()
    assert re.search(words, str(caught.value)), caught.value


def test_a_frame_without_outcome_is_for_prediction() -> None:
    frame = pd.DataFrame({"school": ["a", "b", "a"], "x": [1.0, 2.0, 3.0], "y": [0.0, 1.0, 2.0]})
    found = bm.Tasks.from_frame(frame, task="school", y=None, x=["x"])
    whole = bm.Tasks.from_frame(frame, task="school", y="y", x=["x"])
    assert found.y is None and found.names == whole.names
    assert torch.equal(found.x["x"], whole.x["x"]) and torch.equal(found.mask, whole.mask)


def test_from_frame_says_what_it_takes() -> None:
    frame = pd.DataFrame({"school": ["a"], "age": [1.0], "y": [0.0]})
    with pytest.raises(bm.TasksError, match=r"x='age' is a string; give x=\['age'\]"):
        bm.Tasks.from_frame(frame, task="school", y="y", x="age")
    with pytest.raises(bm.TasksError, match=r"a dict was given as frame, .* from_arrays"):
        bm.Tasks.from_frame({"y": [1.0]}, task="school", y="y")  # type: ignore[arg-type]


def test_a_query_is_of_the_same_tasks_once_that_was_said():
    y = torch.ones(3, 2)
    support, query = bm.Tasks.from_arrays(y), bm.Tasks.from_arrays(2 * y)
    both = support.with_query(query)
    assert both.query.names == both.names and both.query.origin is both.origin


def test_a_list_of_numbers_is_a_column_of_tasks() -> None:
    tasks = bm.Tasks.from_list([[1.0, 2.0], []], x={"s": [[3.0, 4.0], []], "u": [0.5, 0.7]})
    assert torch.equal(tasks.x["u"], torch.tensor([[0.5], [0.7]]))
    assert tasks.x["s"].shape == (2, 2)
    with pytest.raises(bm.TasksError, match="one row a datapoint, or one number for each task"):
        bm.Tasks.from_list([[1.0, 2.0], []], x={"u": [[0.5], [0.7]]})


def test_tasks_are_selected_by_any_positions() -> None:
    tasks = bm.Tasks.from_list([[1.0], [2.0], [3.0]], names=["a", "b", "c"])
    for index in ([0, 2], range(0, 3, 2), torch.tensor([0, 2]), (0, 2)):
        assert tasks.select(index).names == ("a", "c")
    with pytest.raises(bm.TasksError, match="no tasks were selected"):
        tasks.select([])
