"""R-hat and effective sample sizes of all entries at once (Vehtari et al. 2021).

The figures are ArviZ's, whose functions go through the entries one by one. An entry with a draw
that is no number has NaN, as all have where a chain is shorter than 4 draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

_MIN_DRAWS = 4
_TAILS = (0.05, 0.95)
# So many numbers at once: the largest arrays are some ten times that.
_AT_ONCE = 2**20


def rhat(draws: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat, the larger of the bulk's and of the spread's.

    Args:
        draws: (chain, draw, k), from two chains or more; one has NaN.

    Returns:
        R-hat of each entry, (k,); NaN where all draws are the same.
    """
    return np.full(draws.shape[2], np.nan) if len(draws) < 2 else _by_block(draws, _rhat)


def ess_bulk(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the ranks of draws (chain, draw, k): (k,)."""
    return _by_block(draws, lambda x: _ess(_z_scores(_halves(x))))


def ess_tail(draws: np.ndarray) -> np.ndarray:
    """The smaller effective sample size of the 5% and 95% quantiles of (chain, draw, k): (k,)."""
    return _by_block(draws, _ess_tail)


def ess_mean(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the mean of draws (chain, draw, k): (k,)."""
    return _by_block(draws, lambda x: _ess(_halves(x)))


def mcse_mean(draws: np.ndarray) -> np.ndarray:
    """Monte Carlo error of the mean of draws (chain, draw, k), sd / sqrt(ESS): (k,)."""
    with np.errstate(invalid="ignore"):
        return draws.std((0, 1), ddof=1) / np.sqrt(ess_mean(draws))


def mcse_sd(draws: np.ndarray) -> np.ndarray:
    """Monte Carlo error of the sd of draws (chain, draw, k), of the ESS of their squares: (k,)."""
    with np.errstate(invalid="ignore"):
        squares = (draws - draws.mean((0, 1))) ** 2
        variance = squares.mean((0, 1))
        of_variance = ((squares**2).mean((0, 1)) - variance**2) / ess_mean(squares)
        return np.sqrt(of_variance / variance / 4)


def _by_block(draws: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A figure of (k, chain, draw) of those entries that are numbers, in blocks of entries."""
    found = np.full(draws.shape[2], np.nan)
    if draws.shape[1] < _MIN_DRAWS:
        return found
    entries = np.flatnonzero(~np.isnan(draws).any((0, 1)))
    size = max(1, _AT_ONCE // (draws.shape[0] * draws.shape[1]))
    with np.errstate(invalid="ignore", divide="ignore"):
        for start in range(0, len(entries), size):
            block = entries[start : start + size]
            found[block] = figure(draws[..., block].transpose(2, 0, 1).astype(float))
    return found


def _rhat(draws: np.ndarray) -> np.ndarray:
    split = _halves(draws)
    folded = np.abs(split - np.median(split, axis=(1, 2), keepdims=True))
    bulk, spread = (_plain_rhat(_z_scores(x)) for x in (split, folded))
    # Draws of two values have the same distance to their median, so no R-hat of it.
    return np.where(spread > bulk, spread, bulk)


def _plain_rhat(draws: np.ndarray) -> np.ndarray:
    count = draws.shape[2]
    between = count * draws.mean(2).var(1, ddof=1)
    within = draws.var(2, ddof=1).mean(1)
    return np.sqrt((between / within + count - 1) / count)


def _ess_tail(draws: np.ndarray) -> np.ndarray:
    ends = np.quantile(draws, _TAILS, axis=(1, 2), keepdims=True)
    low, high = (_ess(_halves(draws <= end).astype(float)) for end in ends)
    return np.where(high < low, high, low)


def _halves(draws: np.ndarray) -> np.ndarray:
    """Each chain as two; the middle one of an odd number of draws is left out."""
    half = draws.shape[2] // 2
    return np.concatenate([draws[..., :half], draws[..., -half:]], 1)


def _z_scores(draws: np.ndarray) -> np.ndarray:
    """Normal scores of the ranks among all draws of an entry (Blom 1958)."""
    rows = draws.reshape(len(draws), -1)
    ranks = scipy.stats.rankdata(rows, axis=1)
    return scipy.special.ndtri((ranks - 3 / 8) / (rows.shape[1] + 1 / 4)).reshape(draws.shape)


def _ess(draws: np.ndarray) -> np.ndarray:
    """Effective sample size of the mean of (k, chain, draw), by Geyer's sequences (1992)."""
    chains, count = draws.shape[1:]
    covariance = _autocovariance(draws)
    within = covariance[:, 0] * count / (count - 1)
    total = covariance[:, 0].copy()
    if chains > 1:
        total += draws.mean(2).var(1, ddof=1)
    rho = 1 - (within[:, None] - covariance) / total[:, None]
    rho[:, 0] = 1
    size, alike = chains * count, np.ptp(draws, axis=(1, 2)) < np.finfo(float).resolution
    time = np.maximum(_autocorrelation_time(rho), 1 / np.log10(size))
    time[np.isnan(rho).any(1)] = np.nan
    return np.where(alike, size, size / time)


def _autocorrelation_time(rho: np.ndarray) -> np.ndarray:
    """-1 + 2 sum_t rho_t of (k, draw), by pairs of neighbours: as long as these are positive, and
    none above the one before."""
    most = max((rho.shape[1] - 1) // 2 - 1, 0)
    pairs = rho[:, 0 : 2 * most + 1 : 2] + rho[:, 1 : 2 * most + 2 : 2]
    goes_on = np.logical_and.accumulate(pairs[:, :most] > 0, axis=1)
    taken = np.where(goes_on, np.minimum.accumulate(pairs[:, :most], axis=1), 0).sum(1)
    # The one after the last pair that was taken counts once.
    row, after = np.arange(len(rho)), goes_on.sum(1)
    last = rho[row, 2 * after]
    return -1 + 2 * taken + np.where((last > 0) | (pairs[row, after] >= 0), last, 0)


def _autocovariance(draws: np.ndarray) -> np.ndarray:
    """At each lag, averaged over the chains: (k, draw)."""
    count = draws.shape[2]
    size = scipy.fft.next_fast_len(2 * count)
    waves = np.fft.rfft(draws - draws.mean(2, keepdims=True), size, axis=2)
    power = np.square(waves.real) + np.square(waves.imag)
    return np.fft.irfft(power.mean(1), size, axis=1)[:, :count] / count
