"""No value changes by the dtype that it is held in, or an error says which would."""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmeta as bm
from bayesmeta.data import precision

OFFSET = 1_650_000_001  # Floats of 32 bits are 128 apart there.
SMALL, LARGE = torch.float32, torch.float64


def model(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def frame(values: list[Any], x: list[int] | None = None) -> bm.Tasks:
    rows = pd.DataFrame({"t": [0, 0, 1], "y": values, "x": x if x is not None else [1, 2, 3]})
    return bm.Tasks.from_frame(rows, "t", "y", x=["x"])


ARRAYS: dict[str, tuple[Callable[[], bm.Tasks], torch.dtype, list[Any]]] = {
    "whole": (lambda: bm.Tasks.from_arrays([[OFFSET, OFFSET + 2]]), LARGE, [OFFSET, OFFSET + 2]),
    "whole and small": (lambda: bm.Tasks.from_arrays([[0, 1, 16777216]]), SMALL, [0, 1, 16777216]),
    "a power of two": (lambda: bm.Tasks.from_arrays([[2**40, -(2**62)]]), SMALL, [2**40, -(2**62)]),
    "written with 8 digits": (
        lambda: bm.Tasks.from_arrays([[20240101.0, 20240102.0]]),
        LARGE,
        [20240101, 20240102],
    ),
    "written with few": (
        lambda: bm.Tasks.from_arrays([[0.1, -3.7e-12]]),
        SMALL,
        np.float32([0.1, -3.7e-12]).tolist(),
    ),
    "few beside numpy's": (
        lambda: bm.Tasks.from_arrays([[0.1, 2.5]], {"x": np.array([[1 / 3, 1.0]])}),
        LARGE,
        [0.1, 2.5],
    ),
    "many digits": (lambda: bm.Tasks.from_arrays([[1 / 3, 2 / 3]]), LARGE, [1 / 3, 2 / 3]),
    "beyond 32 bits": (lambda: bm.Tasks.from_arrays([[1e300, 1e-300]]), LARGE, [1e300, 1e-300]),
    "beside 32 bits": (
        lambda: bm.Tasks.from_arrays(np.array([[OFFSET]]), {"x": torch.ones(1, 1)}),
        LARGE,
        [OFFSET],
    ),
    "in lists": (lambda: bm.Tasks.from_list([[OFFSET, 3], [1.5]]), LARGE, [OFFSET, 3]),
    "in lists beside 32 bits": (
        lambda: bm.Tasks.from_list([[OFFSET, 3], torch.tensor([1.5])]),
        LARGE,
        [OFFSET, 3],
    ),
    "small in lists": (lambda: bm.Tasks.from_list([[7, 3], [1.5]]), SMALL, [7, 3]),
    "a frame": (lambda: frame([OFFSET, OFFSET + 1, 0]), LARGE, [OFFSET, OFFSET + 1]),
    "a frame of truth values": (lambda: frame([True, False, True]), SMALL, [1, 0]),
    "a frame of nullable ones": (
        lambda: frame(pd.array([OFFSET, 5, 2], dtype="Int64")),
        LARGE,
        [OFFSET, 5],
    ),
    "what is masked says nothing": (
        lambda: bm.Tasks.from_arrays([[1, OFFSET]], mask=[[True, False]]),
        SMALL,
        [1, 1],
    ),
    "half precision": (lambda: bm.Tasks.from_arrays(np.ones((1, 2), "float16")), SMALL, [1, 1]),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_the_dtype_is_the_default_where_no_value_changes_and_else_float64(case: str) -> None:
    make, dtype, first = ARRAYS[case]
    tasks = make()
    assert tasks.dtype == tasks.y.dtype == dtype
    assert tasks.y[0].tolist() == first


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5))
def test_every_whole_number_survives_or_is_refused(values: list[int]) -> None:
    if any(float(v) != v for v in values):
        with pytest.raises(bm.TasksError, match=r"y is \["):
            bm.Tasks.from_list([values])
        return
    tasks = bm.Tasks.from_list([values])
    assert [int(v) for v in tasks.y[0].tolist()] == values
    is_small = all(np.float32(v) == Fraction(v) for v in values)
    assert (tasks.dtype == SMALL) == is_small


@settings(max_examples=60, deadline=None)
@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_a_python_float_is_held_with_the_digits_that_it_was_written_with(value: float) -> None:
    tasks = bm.Tasks.from_arrays([[value]])
    shown = str(np.float32(tasks.y.item())) if tasks.dtype == SMALL else str(tasks.y.item())
    assert value in (tasks.y.item(), float(shown))


def test_integer_columns_of_x_stay_and_are_enough_for_float64() -> None:
    tasks = frame([0, 1, 1], x=[16777217, 16777219, 16777221])
    assert tasks.x["x"].tolist() == [[16777217, 16777219], [16777221, 16777221]]
    assert tasks.x["x"].dtype == torch.int64 and tasks.dtype == LARGE
    beyond = frame([0, 1, 1], x=[2**53 + 1, 1, 2])
    assert int(beyond.x["x"][0, 0]) == 2**53 + 1


def test_default_float64_holds_python_floats_beside_32_bits() -> None:
    torch.set_default_dtype(LARGE)
    try:
        tasks = bm.Tasks.from_arrays([[1 / 3]], {"x": torch.ones(1, 1, dtype=SMALL)})
        assert tasks.dtype == LARGE and tasks.y.item() == 1 / 3
        assert bm.Tasks.from_arrays([[0, 1]]).dtype == LARGE
        torch.set_default_dtype(torch.float16)
        assert bm.Tasks.from_arrays([[0, 1]]).dtype == SMALL
    finally:
        torch.set_default_dtype(SMALL)


def test_whole_outcomes_beyond_float64_are_named() -> None:
    with pytest.raises(bm.TasksError, match=rf"y is \[{2**53 + 1}\] at task 'b', row 1 of"):
        bm.Tasks.from_list([[1], [2, 2**53 + 1]], names="ab")
    with pytest.raises(bm.TasksError, match="in some tasks and floats in others"):
        bm.Tasks.from_list([[2**53 + 1], [0.5]])
    with pytest.raises(bm.TasksError, match=rf"y is \[1, {2**53 + 1}\] at task '0'"):
        bm.Tasks.from_arrays([[[1, 2**53 + 1]]])
    masked = bm.Tasks.from_arrays([[1, 2**53 + 1]], mask=[[1, 0]])
    assert masked.y[0, 0] == 1


def kept(values: Any) -> bm.Tasks:
    return bm.Tasks.from_arrays(np.asarray(values, dtype="float64")).to(dtype=SMALL)


NOISE = np.random.default_rng(0).normal(size=(4, 5))
LOST: dict[str, tuple[Any, str]] = {
    "dates": ([[20240101.0, 20240102.0]], r"20240101.0 to 20240100.0 at task '0', row 0"),
    "an offset": (1e7 + NOISE, "column 'y' would change in torch.float32"),
    "a spread within tasks": (
        np.array([[0.0], [1e6], [2e6], [3e6]]) + 1e-2 * NOISE,
        "subtract an offset and rescale",
    ),
    "too large": (1e300 * NOISE, "to -?inf at"),
    "too small": (1e-300 * NOISE, "to -?0.0 at"),
    "zero beside ones": ([[1.0, 1e-60]], "1e-60 to 0.0 at task '0', row 1"),
}


@pytest.mark.parametrize("case", LOST)
def test_fewer_digits_that_would_change_values_are_refused(case: str) -> None:
    values, words = LOST[case]
    with pytest.raises(bm.TasksError) as caught:
        kept(values)
    assert re.search(words, str(caught.value)), caught.value


@pytest.mark.parametrize(
    "values", [NOISE, 100 + NOISE, 1e30 * NOISE, [[0.1, 0.1]], [[1, 2, 16777216]], [[0.0, 0.0]]]
)
def test_rounding_that_is_noise_is_none(values: Any) -> None:
    assert kept(values).dtype == SMALL


def test_each_number_of_a_datapoint_is_judged_by_its_own_spread() -> None:
    small, large = NOISE, 1e9 * NOISE
    assert kept(np.stack([small, large], -1)).dtype == SMALL
    with pytest.raises(bm.TasksError, match="would change"):
        kept(np.stack([1e7 + small, large], -1))


def test_whole_numbers_that_a_model_would_multiply_in_fewer_digits_are_refused() -> None:
    tasks = frame([0.5, 1.5, 2.5], x=[16777217, 1, 2])
    with pytest.raises(bm.TasksError, match=r"'x' would change .* 16777217.0 to 16777216.0"):
        tasks.to(dtype=SMALL)
    assert frame([0.5, 1.5, 2.5], x=[2**40, 1, 2]).to(dtype=SMALL).x["x"][0, 0] == 2**40


def test_a_model_runs_in_32_or_64_bits() -> None:
    tasks = bm.Tasks.from_arrays(NOISE)
    for dtype in (torch.float16, torch.bfloat16, torch.int64, torch.bool):
        with pytest.raises(bm.TasksError, match=f"dtype={dtype} was given.*float32 or torch"):
            tasks.to(dtype=dtype)


def test_new_tasks_of_more_digits_are_rounded_or_refused() -> None:
    point = bm.Point(adam=bm.Adam(steps=2, compile=False))
    small = bm.Tasks.from_arrays(NOISE.astype("float32"), names="abcd")
    post = bm.fit(model, small, theta=point, phi=bm.Exact(), progress=False)
    new = bm.Tasks.from_arrays(NOISE, names="abcd")
    assert post.adapt(new).tasks.dtype == post.log_score(new).dtype == SMALL
    shifted = bm.Tasks.from_arrays(NOISE + 1e7, names="abcd")
    for ask in (post.adapt, post.log_score, post.predict):
        with pytest.raises(bm.TasksError, match=r"fit again, to tasks.to\(dtype=torch.float64\)"):
            ask(shifted)


def test_examples_are_read_with_the_digits_that_they_have() -> None:
    whole = torch.tensor([[OFFSET + 2 * k] for k in range(4)])
    for examples, dtype in (
        (whole.double() + 0.1, LARGE),
        (whole, LARGE),
        (whole - OFFSET, SMALL),
        (torch.rand(4, 1).half(), SMALL),
    ):
        classes = bm.Classes(examples, (2, 2), ("a", "b"))
        tasks = classes.episodes(3, ways=2, shots=1, queries=1)
        assert tasks.dtype == tasks.y.dtype == tasks.query.y.dtype == dtype
        assert tasks.x["image"].dtype == dtype == classes.shuffled(2).dtype
        assert torch.isin(tasks.x["image"].double(), examples.double()).all()


def test_these_tests_would_see_a_dtype_that_is_too_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_holds", lambda dtype, values: True)
    for case in ("whole", "written with 8 digits", "a frame"):
        with pytest.raises(AssertionError):
            test_the_dtype_is_the_default_where_no_value_changes_and_else_float64(case)
