"""Whether ranks of true values among draws are uniform: the gamma statistic, and its bands."""

from __future__ import annotations

import functools

import numpy as np
from torch import Tensor

# Of uniform ranks, by which a p value is found: it is known to 1 / 8,000.
_REPEATS, _SEED = 8000, 0


def ranks(draws: Tensor, truth: Tensor) -> np.ndarray:
    """How many draws (draws, simulations) are below the truth (simulations,)."""
    found: np.ndarray = (draws < truth).sum(0).numpy()
    return found


def gamma(found: np.ndarray, draws: int) -> float:
    """Twice the smallest tail probability of the counts of ranks below a cut, over all cuts.

    With R_k of N ranks below cut k, which is Bin(N, k / (draws + 1)) where ranks are uniform:

        gamma = 2 min_k min(P(Bin <= R_k), P(Bin >= R_k))

    (Saeilynoja, Buerkner & Vehtari 2022, Graphical test for discrete uniformity).

    Args:
        found: ranks, whole numbers from 0 to `draws`, (simulations,).
        draws: among how many draws.
    """
    return float(_gammas(np.asarray(found)[None], draws)[0])


def p_value(found: np.ndarray, draws: int) -> float:
    """How often uniform ranks have a gamma as small, by 8,000 sets of them.

    Args:
        found, draws: as of `gamma`.
    """
    null = _null(len(found), draws)
    # Of equal ones, as of few ranks, rounding is not to decide.
    at = gamma(found, draws) * (1 + 1e-9)
    return float((1 + np.searchsorted(null, at, side="right")) / (1 + len(null)))


def bands(count: int, draws: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Within which the ECDF of so many uniform ranks is, at all cuts together, at this level.

    Args:
        count: of ranks.
        draws: among how many draws.
        level: with what probability, as 0.95.

    Returns:
        shares of ranks below cuts 1 / (draws + 1), ..., draws / (draws + 1): low, high.
    """
    from scipy import stats

    tail = np.quantile(_null(count, draws), 1 - level) / 2
    null = stats.binom(count, np.arange(1, draws + 1) / (draws + 1))
    return null.ppf(tail) / count, null.isf(tail) / count


def below_cuts(found: np.ndarray, draws: int) -> np.ndarray:
    """How many ranks (sets, simulations) are below each cut, (sets, draws)."""
    sets = np.arange(len(found))[:, None] * (draws + 1)
    counts = np.bincount((sets + found).ravel(), minlength=len(found) * (draws + 1))
    return counts.reshape(len(found), draws + 1).cumsum(1)[:, :-1]


def _gammas(found: np.ndarray, draws: int) -> np.ndarray:
    """Of sets of ranks (sets, simulations), (sets,)."""
    counts, tails = below_cuts(found, draws), _tails(found.shape[1], draws)
    least: np.ndarray = tails[np.arange(draws), counts].min(1)
    return np.minimum(2 * least, 1)


@functools.lru_cache(8)
def _tails(count: int, draws: int) -> np.ndarray:
    """The smaller tail probability of each count below each cut, (draws, count + 1)."""
    from scipy import stats

    chances = np.arange(1, draws + 1)[:, None] / (draws + 1)
    null, counts = stats.binom(count, chances), np.arange(count + 1)
    found: np.ndarray = np.minimum(null.cdf(counts), null.sf(counts - 1))
    return found


@functools.lru_cache(8)
def _null(count: int, draws: int) -> np.ndarray:
    """The gammas of uniform ranks, ascending."""
    uniform = np.random.default_rng(_SEED).integers(0, draws + 1, (_REPEATS, count))
    return np.sort(_gammas(uniform, draws))
