"""Amortised draws beside exact ones, by a classifier; where they differ `diagnose` says so."""

from __future__ import annotations

import pytest

from benchmarks.exactness import judged


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b ~ N(a, 0.1), a ~ N(0, 1)", "Gamma-Poisson", "Beta of a Beta"])
def test_draws_are_not_told_from_exact_ones(name: str) -> None:
    for size, share, k, is_named in judged(name):
        assert 0.44 < share < 0.56 or is_named, (size, share, k)


@pytest.mark.slow
def test_negative_control_where_they_are_told_apart_the_task_is_named() -> None:
    """Of Cauchy effects some are at hundreds of their scale, sharper than the network knows."""
    rows = judged("Cauchy")
    told = [is_named for _, share, _, is_named in rows if not 0.42 < share < 0.58]
    assert told and all(told)
