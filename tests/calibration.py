"""Ranks of true values among draws, and how far they are from uniform: the gamma statistic."""

from __future__ import annotations

import numpy as np
from scipy import stats
from torch import Tensor


def ranks(draws: Tensor, truth: Tensor) -> np.ndarray:
    """How many draws (draws, simulations) are below the truth (simulations,)."""
    return (draws < truth).sum(0).numpy()


def gamma(found: np.ndarray, draws: int) -> float:
    """Twice the smallest tail probability of the counts of ranks below a cut, over all cuts.

    Sailynoja, Buerkner & Vehtari (2022), Graphical test for discrete uniformity.
    """
    cuts = np.arange(1, draws + 1)
    counts = np.bincount(found, minlength=draws + 1).cumsum()[:-1]
    null = stats.binom(len(found), cuts / (draws + 1))
    return float(2 * np.minimum(null.cdf(counts), null.sf(counts - 1)).min())


def p_value(found: np.ndarray, draws: int, repeats: int = 4000) -> float:
    """How often uniform ranks have a gamma as small."""
    uniform = np.random.default_rng(0).integers(0, draws + 1, (repeats, len(found)))
    null = np.array([gamma(row, draws) for row in uniform])
    return float((null <= gamma(found, draws)).mean())
