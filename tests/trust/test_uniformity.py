"""The gamma statistic knows uniform ranks from others, and its bands hold so many of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bayesmeta.trust.uniformity import bands, below_cuts, gamma, p_value

DRAWS, COUNT = 49, 100


def uniform(sets: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, DRAWS + 1, (sets, COUNT))


def test_gamma_is_twice_the_smallest_tail() -> None:
    found = uniform(1)[0]
    tails = []
    for cut in range(1, DRAWS + 1):
        null = stats.binom(COUNT, cut / (DRAWS + 1))
        below = int((found < cut).sum())
        tails.append(min(null.cdf(below), null.sf(below - 1)))
    assert gamma(found, DRAWS) == pytest.approx(2 * min(tails))


def test_p_values_of_uniform_ranks_are_uniform_and_bands_hold_95_of_100() -> None:
    sets = uniform(1000)
    p = np.array([p_value(found, DRAWS) for found in sets])
    for level in (0.01, 0.05, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=3 * np.sqrt(level / 1000))
    low, high = bands(COUNT, DRAWS, 0.95)
    share = below_cuts(sets, DRAWS) / COUNT
    inside = ((share >= low - 1e-12) & (share <= high + 1e-12)).all(1)
    assert inside.mean() == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("power", "scale"), [(0.7, 1.0), (1.0, 0.7)])
def test_ranks_that_lean_or_crowd_are_found(power: float, scale: float) -> None:
    u = np.random.default_rng(1).uniform(size=300) ** power
    found = ((0.5 + scale * (u - 0.5)) * (DRAWS + 1)).astype(int)
    assert p_value(found, DRAWS) < 0.01
