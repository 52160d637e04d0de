"""Words for places that are not uniform are those of what was done to the posterior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesmeta.trust.direction import direction
from bayesmeta.trust.uniformity import p_value

COUNT = 2000


def places(posterior: stats.rv_continuous, truth: stats.rv_continuous = stats.norm) -> np.ndarray:
    """Where truths are among draws without end."""
    found: np.ndarray = posterior.cdf(truth.rvs(size=COUNT, random_state=np.random.default_rng(0)))
    return found


@pytest.mark.parametrize(
    ("posterior", "truth", "said"),
    [
        (stats.norm(0, 0.8), stats.norm, "too narrow"),
        (stats.norm(0, 1.25), stats.norm, "too wide"),
        (stats.norm(0.3, 1), stats.norm, "biased up"),
        (stats.norm(-0.3, 0.8), stats.norm, "biased down and too narrow"),
        # Of the same quartiles.
        (stats.norm(0, 1), stats.cauchy(0, 0.6745), "too narrow"),
        (stats.norm(0, 1.6), stats.t(1.5), "of tails that are too light"),
        (stats.t(1.2), stats.norm(0, 1.7), "of tails that are too heavy"),
        (stats.norm, stats.norm, "of another shape"),
    ],
)
def test_what_was_done_is_what_is_said(posterior, truth, said) -> None:
    assert direction(places(posterior, truth)) == said


def test_a_tail_that_one_side_lacks_is_named() -> None:
    """One in twelve truths is above the 95% quantile, and all else is even."""
    few = 400
    place = np.concatenate([np.linspace(0, 0.95, few - few // 12), np.full(few // 12, 0.97)])
    assert direction(place) == "too narrow above"
    assert direction(1 - place) == "too narrow below"
    assert direction(np.linspace(0, 1, few)) == "of another shape"


def test_the_log_likelihood_has_words_of_its_own() -> None:
    place = places(stats.norm(-0.5, 1))
    assert direction(place) == "biased down"
    assert direction(place, is_fit=True) == "draws explain the data worse than the truth does"
    better = "draws explain the data better than the truth does"
    assert direction(1 - place, is_fit=True) == better


def test_what_fails_by_a_hundred_simulations_is_called_too_narrow() -> None:
    """Of posteriors 0.8 times as wide; by the variance of places alone an eighth had no word."""
    random, named, by_places = np.random.default_rng(1), [], []
    for _ in range(200):
        place = stats.norm.cdf(random.normal(size=100) / 0.8)
        if p_value((100 * place).astype(int).clip(0, 99), 99) < 0.05 / 6:
            named.append("too narrow" in direction(place))
            by_places.append((place.var() - 1 / 12) * np.sqrt(180 * 100) > 2.5)
    assert len(named) > 40 and np.mean(named) > 0.97
    assert np.mean(by_places) < 0.93
