"""The errors that entropy states: they hold the truth of twenty known distributions, and no other.

One to sixteen dimensions, heavy tails, edges, ridges, mixtures, rings, funnels and chains.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, gammaln

from bayesmeta.information import nearest_neighbours
from bayesmeta.information.errors import by_neighbours
from bayesmeta.information.nearest_neighbours import Term, entropy_terms
from bayesmeta.information.normal_points import NORMAL

Draw = Callable[[np.random.Generator, int], np.ndarray]
Known = tuple[Draw, float]
DRAWS = 2000


def of_scipy(fn: stats.rv_continuous) -> Known:
    return lambda rng, n: fn.rvs(size=(n, 1), random_state=rng), float(fn.entropy())


def normal(d: int, ratio: float) -> Known:
    """Correlations of ratio^|i - j|."""
    place = np.arange(d)
    root = np.linalg.cholesky(ratio ** np.abs(place[:, None] - place))
    draw = lambda rng, n: rng.normal(size=(n, d)) @ root.T  # noqa: E731
    return draw, d * NORMAL + float(np.log(np.diag(root)).sum())


def student(d: int, df: float) -> Known:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.normal(size=(n, d)) / np.sqrt(rng.chisquare(df, size=(n, 1)) / df)

    return draw, float(stats.multivariate_t(np.zeros(d), np.eye(d), df=df).entropy())


def log_gamma(shape: float, d: int) -> Known:
    """log x of a gamma, with a long tail on the left: its own entropy less the mean of log x."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        logs = np.log(rng.gamma(shape + 1, size=(n, d)))
        return np.asarray(logs + np.log(rng.random((n, d))) / shape)

    return draw, float(d * (gammaln(shape) - shape * digamma(shape) + shape))


def mixture(d: int, apart: float, narrow: float = 1.0) -> Known:
    """Half of it standard normal, half around another place, narrower."""
    middle = np.full(d, apart / math.sqrt(d))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        points, is_first = rng.normal(size=(n, d)), rng.random((n, 1)) < 0.5
        return np.where(is_first, points, middle + narrow * points)

    def surprise(x: np.ndarray) -> np.ndarray:
        first = -0.5 * (x**2).sum(1)
        second = -0.5 * (((x - middle) / narrow) ** 2).sum(1) - d * math.log(narrow)
        both = np.logaddexp(first, second) - math.log(2) - 0.5 * d * math.log(2 * math.pi)
        return np.asarray(-both)

    return draw, float(surprise(draw(np.random.default_rng(9), 400_000)).mean())


def banana(d: int) -> Known:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        points = rng.normal(size=(n, d))
        points[:, 1] = 0.3 * points[:, 1] + points[:, 0] ** 2
        return points

    return draw, d * NORMAL + math.log(0.3)


def funnel(d: int) -> Known:
    """Neal's: the logarithm of a variance, and what has it."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        logs = 1.5 * rng.normal(size=(n, 1))
        return np.concatenate([logs, rng.normal(size=(n, d - 1)) * np.exp(0.5 * logs)], 1)

    return draw, d * NORMAL + math.log(1.5)


def ring() -> Known:
    def radius(rng: np.random.Generator, n: int) -> np.ndarray:
        return 3 + 0.2 * rng.normal(size=n)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        r, angle = radius(rng, n), 2 * math.pi * rng.random(n)
        return np.stack([r * np.cos(angle), r * np.sin(angle)], 1)

    stretch = np.log(radius(np.random.default_rng(9), 10**6)).mean()
    return draw, NORMAL + math.log(0.2) + math.log(2 * math.pi) + float(stretch)


def chain(d: int, along: float) -> Known:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        points = rng.normal(size=(n, d))
        for i in range(1, n):
            points[i] = along * points[i - 1] + math.sqrt(1 - along**2) * points[i]
        return points

    return draw, d * NORMAL


TWENTY: dict[str, Known] = {
    "normal": normal(1, 0.0),
    "logistic, of a uniform": of_scipy(stats.logistic()),
    "log Gamma(.1)": log_gamma(0.1, 1),
    "Cauchy": of_scipy(stats.cauchy()),
    "Student's, 3": of_scipy(stats.t(3)),
    "Laplace": of_scipy(stats.laplace()),
    "two peaks": mixture(1, 8.0),
    "a spike": mixture(1, 0.0, 0.01),
    "a ridge in 2": normal(2, 0.99),
    "Cauchy in 2": student(2, 1.0),
    "banana in 2": banana(2),
    "ring": ring(),
    "Student's in 4": student(4, 3.0),
    "two peaks in 4": mixture(4, 5.0),
    "normal in 5": normal(5, 0.9),
    "banana in 6": banana(6),
    "funnel in 8": funnel(8),
    "normal in 16": normal(16, 0.5),
    "log Gamma(.3) in 16": log_gamma(0.3, 16),
    "chain in 3": chain(3, 0.8),
}


def distances(draws: int = DRAWS) -> dict[str, float]:
    """How far each estimate is from the truth, in the errors that it states."""
    found = {}
    for name, (draw, truth) in TWENTY.items():
        value, error = by_neighbours(entropy_terms, [draw(np.random.default_rng(0), draws)], 3)
        found[name] = abs(value - truth) / error
    return found


def check(found: dict[str, float]) -> None:
    """Nearly all within 2.5 errors, none beyond 4."""
    assert len(found) == 20
    assert sum(z < 2.5 for z in found.values()) >= 19 and max(found.values()) < 4, found


def test_the_errors_hold_the_truth() -> None:
    check(distances())


def test_errors_say_something() -> None:
    """They are small where it is easy: not such that anything would pass."""
    for name, most in (("normal", 0.05), ("Cauchy", 0.08), ("ring", 0.08), ("normal in 16", 0.3)):
        draw = TWENTY[name][0]
        points = draw(np.random.default_rng(0), DRAWS)
        assert by_neighbours(entropy_terms, [points], 3)[1] < most


def test_a_wrong_formula_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest_neighbours, "log_ball", lambda d: 0.0)
    with pytest.raises(AssertionError):
        check(distances())
    monkeypatch.undo()

    def none(scores: np.ndarray, counts: np.ndarray, ks: tuple[int, ...]) -> Term:
        return Term(scores.shape[1], np.zeros(len(ks)))

    # As if numbers did not depend on each other.
    monkeypatch.setattr(nearest_neighbours, "_total_correlation", none)
    with pytest.raises(AssertionError):
        check(distances())
