"""Values of any kind: what goes in comes out, or an error names the column and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

import bayesmeta as bm
from bayesmeta.data.values import read_mask, read_values

NUMBERS = [[0.0, 1.5], [-2.0, 4.0]]
KINDS: dict[str, Callable[[], Any]] = {
    "nested lists": lambda: NUMBERS,
    "lists of arrays": lambda: [np.array(row) for row in NUMBERS],
    "lists of tensors": lambda: [torch.tensor(row, requires_grad=True) for row in NUMBERS],
    "tuples of numpy's numbers": lambda: tuple(tuple(map(np.float32, row)) for row in NUMBERS),
    "half precision": lambda: np.array(NUMBERS, dtype="float16"),
    "a tensor of half precision": lambda: torch.tensor(NUMBERS, dtype=torch.float16),
    "bfloat16": lambda: torch.tensor(NUMBERS, dtype=torch.bfloat16),
    "a list of bfloat16": lambda: [torch.tensor(row, dtype=torch.bfloat16) for row in NUMBERS],
    "8 bits": lambda: torch.tensor(NUMBERS).to(torch.float8_e4m3fn),
    "long doubles": lambda: np.array(NUMBERS, dtype=np.longdouble),
    "big endian": lambda: np.array(NUMBERS, dtype=">f8"),
    "turned round": lambda: np.array([row[::-1] for row in NUMBERS])[:, ::-1],
    "objects": lambda: np.array(NUMBERS, dtype=object),
    "decimals": lambda: [[Decimal(str(v)) for v in row] for row in NUMBERS],
    "a frame": lambda: pd.DataFrame(NUMBERS),
    "a frame of nullable floats": lambda: pd.DataFrame(NUMBERS).astype("Float32"),
    "a masked array that hides nothing": lambda: np.ma.masked_array(NUMBERS),
}

WITHOUT_PRECISION = ("nested lists", "objects", "decimals", "a frame of nullable floats")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_every_kind_are_what_they_were(kind: str) -> None:
    found = read_values("y", KINDS[kind]())
    assert found.tensor.tolist() == NUMBERS
    assert found.tensor.dtype in (torch.float32, torch.float64)
    assert not found.tensor.requires_grad
    assert found.own == (kind not in WITHOUT_PRECISION)


WHOLE: dict[str, Any] = {
    "python": [[1, 2], [3, 2**62]],
    "uint64": np.array([[1, 2], [3, 2**62]], dtype="uint64"),
    "objects": np.array([[1, 2], [3, 2**62]], dtype=object),
    "big endian": np.array([[1, 2], [3, 2**62]], dtype=">i8"),
    "a tensor of uint64": torch.tensor([[1, 2], [3, 2**62]], dtype=torch.uint64),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_whole_numbers_stay_whole(kind: str) -> None:
    found = read_values("k", WHOLE[kind]).tensor
    assert found.dtype == torch.int64 and found.tolist() == [[1, 2], [3, 2**62]]


def test_truth_values_and_what_is_missing() -> None:
    assert read_values("y", [True, False]).tensor.tolist() == [1.0, 0.0]
    for missing in (pd.array([True, None], dtype="boolean"), [True, None], [1, pd.NA]):
        found = read_values("y", missing).tensor
        assert found[0] == 1 and torch.isnan(found[1])


def test_masks_are_kept_wherever_they_stand() -> None:
    whole = np.ma.masked_array([[1.0, 999.0], [3.0, 4.0]], [[False, True], [False, False]])
    for given in (whole, list(whole), [list(row) for row in whole], (whole[0], [3.0, 4.0])):
        found = read_values("y", given)
        assert found.hidden.tolist() == [[False, True], [False, False]]
        assert found.tensor[[0, 1, 1], [0, 0, 1]].tolist() == [1.0, 3.0, 4.0]
    assert read_values("y", np.asarray(whole)).hidden is None


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "text": (lambda: [["1", "2"]], r"dtype <U1 \(such as '1'\).*factorize.*to_numeric"),
    "text in objects": (
        lambda: np.array([1.0, "low"], dtype=object),
        r"holds str 'low'.*get_dummies.*pandas.to_numeric",
    ),
    "categories": (lambda: pd.Categorical(["a", "b"]), "holds str 'a'.*factorize"),
    "dates": (lambda: pd.to_datetime(["2020-01-01"]), r"datetime64.*days since the first"),
    "dates with a zone": (
        lambda: pd.Series(pd.to_datetime(["2020-01-01"]).tz_localize("CET")),
        r"Timestamp.*days since the first",
    ),
    "durations": (lambda: pd.to_timedelta([1.0], unit="D"), r"timedelta64.*durations as floats"),
    "complex": (lambda: np.array([1j]), "dtype complex128.*real and imaginary"),
    "a complex tensor": (lambda: torch.ones(1) * 1j, "'y' is complex.*real and imaginary"),
    "complex objects": (lambda: np.array([1j], dtype=object), "holds complex.*imaginary"),
    "sparse": (lambda: scipy.sparse.eye_array(2), r"'y' is sparse.*toarray\(\)"),
    "a sparse tensor": (lambda: torch.eye(2).to_sparse(), r"'y' is sparse.*to_dense\(\)"),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        r"'y' is quantised.*dequantize\(\)",
    ),
    "meta": (lambda: torch.ones(2, device="meta"), "'y' is on the device 'meta'"),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=torch.jagged),
        r"'y' is nested.*Tasks.from_list, list\(column.unbind\(\)\)",
    ),
    "arrays in cells": (
        lambda: pd.Series([np.ones(2), np.ones(2)]),
        "holds ndarray.*numpy.stack",
    ),
    "fields": (lambda: np.zeros(1, dtype=[("a", "f8")]), "each field as a column of its own"),
    "beyond 64 bits": (lambda: [2**64], f"holds {2**64}, which no whole number of 64 bits"),
    "uint64": (lambda: np.array([2**63 + 5], dtype="uint64"), f"{2**63 + 5}.*factorize"),
    "a tensor of uint64": (
        lambda: torch.tensor([2**63 + 5], dtype=torch.uint64),
        f"{2**63 + 5}.*factorize",
    ),
    "among floats": (lambda: [0.5, 2**53 + 1], f"{2**53 + 1}.*subtract an offset"),
    "far beyond floats": (lambda: [0.5, 10**400], "subtract an offset"),
    "long doubles": (
        lambda: np.array([1, 3], dtype=np.longdouble) / 3,
        "no float64 holds as it is",
    ),
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, on making such tensors
@pytest.mark.parametrize("kind", REFUSED)
def test_what_holds_no_numbers_is_named_with_a_remedy(kind: str) -> None:
    make, words = REFUSED[kind]
    with pytest.raises(bm.TasksError) as caught:
        read_values("y", make())
    assert re.search(words, str(caught.value)), caught.value


@pytest.mark.parametrize("yes_no", [[[True, False]], [[1, 0]], [[1.0, 0.0]], np.array([[1, 0]])])
def test_masks_of_truth_values_or_ones_and_zeros(yes_no: Any) -> None:
    assert read_mask(yes_no).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ([[1.0, np.nan]], "mask holds nan, which says neither"),
        ([[True, None]], "mask holds nan, which says neither"),
        ([[1, -1]], "mask holds -1, which"),
        ([[1, 2]], "mask holds 2, which"),
        ([[0.5, 1.0]], "mask holds 0.5, which"),
        ([["True", "False"]], r"no truth values \(column 'mask' has dtype <U5"),
        (np.ma.masked_array([[True, False]], [[False, True]]), "mask is itself masked in 1 cells"),
    ],
)
def test_masks_of_anything_else_are_refused(mask: Any, words: str) -> None:
    with pytest.raises(bm.TasksError, match=words + r".*; give True \(or 1\) where there is"):
        bm.Tasks.from_arrays([[1.0, 2.0]], mask=mask)
