"""Numbers as arguments: what is taken, and what the refusals say."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from bayesmeta.data.arguments import check_number, check_seed, check_whole

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [1, np.int64(3), 10**6])
def test_whole_numbers_of_any_kind_are_taken(value: object) -> None:
    check_whole("f", "draws", value)


@pytest.mark.parametrize("value", [1.0, 10.5, NAN, "3", None, True, torch.tensor(3), [1]])
def test_other_kinds_are_refused_by_name(value: object) -> None:
    with pytest.raises(TypeError, match=r"f got draws=.*; give a whole number of at least 2"):
        check_whole("f", "draws", value, least=2)


def test_smaller_numbers_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"f got draws=1; give a whole number of at least 2, or"):
        check_whole("f", "draws", 1, least=2, or_none=True)
    check_whole("f", "draws", None, or_none=True)


def test_numbers_have_bounds() -> None:
    for value in (0.1, 1, np.float32(0.5), np.float64(1), Fraction(1, 2)):
        check_number("f", "lr", value, above=0, most=1)
    for value in (0, -1.0, 1.1, NAN, INF, -INF):
        with pytest.raises(ValueError, match=r"f got lr=.*; give a finite number above 0 and at m"):
            check_number("f", "lr", value, above=0, most=1)
    for given in ("0.1", None, True, torch.tensor(0.1), 1j):
        with pytest.raises(TypeError, match=r"f got lr=.*; give a finite number$"):
            check_number("f", "lr", given)
    check_number("f", "lr", 0, least=0, below=1)
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        check_number("f", "lr", 1, least=0, below=1)


def test_seeds_are_what_torch_takes() -> None:
    for seed in (0, 2**63 - 1, np.int64(7)):
        check_seed("f", seed)
        torch.Generator().manual_seed(int(seed))
    check_seed("f", None, or_none=True)
    with pytest.raises(ValueError, match="at most"):
        check_seed("f", 2**63)
    for bad in (-1, 1.5, "a", None, True, NAN):
        with pytest.raises((TypeError, ValueError), match="f got seed="):
            check_seed("f", bad)


def test_an_owner_goes_by_its_class() -> None:
    with pytest.raises(TypeError, match="Fraction got"):
        check_whole(Fraction(1, 2), "draws", "a")
