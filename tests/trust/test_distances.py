"""Distances between draws are those of the distributions that they are from."""

from __future__ import annotations

import math

import pytest
import torch

from bayesmeta.trust.distances import _apart

COUNT = 40_000


def normal(mean: float, sd: float, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return mean + sd * torch.randn(COUNT, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_a_shift_and_a_spread_are_those_of_normals(unit: float) -> None:
    base = unit * normal(5.0, 2.0, 0)
    shifted = _apart(unit * normal(6.0, 2.0, 1), base)
    assert math.isclose(shifted.mean, 0.5, abs_tol=0.02)
    assert math.isclose(shifted.distance, 0.5, abs_tol=0.02)
    assert math.isclose(shifted.sd, 1.0, abs_tol=0.02)
    narrow = _apart(unit * normal(5.0, 1.0, 1), base)
    # Of normals with one mean: E|z| times the difference of their sds.
    assert math.isclose(narrow.distance, 0.5 * math.sqrt(2 / math.pi), abs_tol=0.02)
    assert math.isclose(narrow.sd, 0.5, abs_tol=0.02)
    within = math.erf(1.6449 * 0.5 / math.sqrt(2))
    assert math.isclose(narrow.covers90, within, abs_tol=0.01)


def test_the_same_distribution_is_no_distance_but_that_of_chance() -> None:
    same = _apart(normal(5.0, 2.0, 1), normal(5.0, 2.0, 0))
    assert same.distance < 0.02 and abs(same.covers90 - 0.9) < 0.01


def test_a_point_has_no_spread_and_covers_nothing() -> None:
    point = _apart(torch.full((1, 3), 5.0, dtype=torch.float64), normal(5.0, 2.0, 0))
    assert point.sd == 0 and point.covers90 == 0
    assert math.isclose(point.distance, math.sqrt(2 / math.pi), abs_tol=0.02)


def test_numbers_that_do_not_vary_count_for_nothing() -> None:
    base, own = normal(0.0, 1.0, 0), normal(0.0, 1.0, 1)
    base[:, 0] = 1.0
    assert _apart(own, base).distance < 0.02
