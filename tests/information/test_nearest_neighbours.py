"""nearest neighbours and their errors: of normal points, of repeated ones, and of none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.special import digamma

from bayesmeta.information.errors import split_error
from bayesmeta.information.nearest_neighbours import (
    RepeatedError,
    entropy_terms,
    information_terms,
    is_unlike_normal,
)
from bayesmeta.information.normal_points import NORMAL, excess


def entropy_of(points: np.ndarray) -> float:
    return float(sum(term.values[0] for term in entropy_terms(points, (3,))))


def information_of(one: np.ndarray, other: np.ndarray) -> float:
    return float(sum(term.values[0] for term in information_terms(one, other, (3,))))


@pytest.mark.parametrize(("n", "d", "repeats"), [(200, 4, 60), (500, 12, 20)])
def test_what_normal_points_are_off_is_known(n: int, d: int, repeats: int) -> None:
    rng, found = np.random.default_rng(0), []
    for _ in range(repeats):
        points = rng.normal(size=(n, d))
        radius = cKDTree(points).query(points, 4)[0][:, 3]
        ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1)
        plain = digamma(n) - digamma(3) + ball + d * np.log(radius).mean()
        found.append(plain - d * NORMAL)
    error = np.std(found) / math.sqrt(repeats)
    assert abs(np.mean(found) - excess(n, d, 3)) < 3 * error
    assert abs(np.mean(found)) > 3 * error


def test_units_and_monotone_maps_do_what_they_should() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1000, 3))
    points[:, 1] += 0.8 * points[:, 0]
    units = np.array([1e-3, 1.0, 1e3])
    assert entropy_of(points * units) == pytest.approx(entropy_of(points), abs=1e-8)
    one, other = points[:, :1], points[:, 1:]
    told = information_of(one, other)
    assert information_of(np.exp(9 * one), other**3) == pytest.approx(told, abs=1e-12)
    assert told == pytest.approx(0.5 * math.log(1.64), abs=0.07)


@pytest.mark.parametrize("along", [0.0, 0.8])
def test_the_error_is_the_spread_over_repetitions(along: float) -> None:
    rng = np.random.default_rng(1)
    values, errors, as_if_independent = [], [], []
    for _ in range(60):
        chain = np.empty(1000)
        chain[0] = rng.normal()
        for i in range(1, len(chain)):
            chain[i] = along * chain[i - 1] + math.sqrt(1 - along**2) * rng.normal()
        points = chain[:, None]
        values.append(entropy_of(points))
        errors.append(split_error(entropy_of, [points]))
        as_if_independent.append(split_error(entropy_of, [rng.permutation(points)]))
    # Of ten parts it is wider by 15%.
    assert np.mean(errors) == pytest.approx(1.15 * np.std(values), rel=0.3)
    # Of the draws of a chain in any order the error would be too small.
    assert along == 0.0 or np.mean(as_if_independent) < 0.8 * np.std(values)


def test_draws_that_a_sampler_repeats_count_but_are_no_neighbours() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(2000, 1))
    often = np.repeat(points, rng.choice([1, 1, 1, 5], len(points)), axis=0)[:2000]
    assert entropy_of(often) == pytest.approx(NORMAL, abs=0.1)
    two = np.concatenate([often, often[:, :1] + 0.1 * rng.normal(size=(2000, 1))], 1)
    assert entropy_of(two) == pytest.approx(2 * NORMAL + math.log(0.1), abs=0.15)


def test_draws_at_the_last_of_the_floats_are_refused() -> None:
    rng = np.random.default_rng(3)
    logs = rng.normal(size=(1000, 1)).clip(min=-1.5)
    with pytest.raises(RepeatedError, match=r"one and the same number.*last of the floats"):
        entropy_of(logs)
    with pytest.raises(RepeatedError, match="last of the floats"):
        information_of(logs, rng.normal(size=(1000, 1)))


@pytest.mark.parametrize(
    ("points", "complaint"),
    [
        (np.repeat(np.arange(10.0), 30)[:, None], "97% of the 300 draws repeat"),
        (np.stack([np.arange(300.0), np.ones(300)], 1), "the same at all draws"),
        (np.stack([np.arange(300.0), 2 * np.arange(300.0)], 1), "a function of the others"),
        (np.stack([np.arange(300.0), -(np.arange(300.0) ** 3)], 1), "a function of the others"),
        (np.where(np.arange(300.0) > 5, 1.0, math.nan)[:, None], "not finite"),
    ],
)
def test_points_without_a_density_are_refused(points: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        entropy_of(points)


def test_many_numbers_far_from_normal_are_known() -> None:
    rng = np.random.default_rng(4)
    normal = rng.normal(size=(2000, 12))
    funnel = normal * np.exp(0.75 * rng.normal(size=(2000, 1)))
    assert not is_unlike_normal(normal) and is_unlike_normal(funnel)
    assert not is_unlike_normal(funnel[:, :10])
