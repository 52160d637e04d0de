"""Entropy and mutual information of points, by distances to nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma

Array = NDArray[np.float64]

_MOST_REPEATED = 0.5
_FEWEST_PARTS, _MOST_PARTS, _PART = 5, 20, 100


class RepeatedError(ValueError):
    """Points that repeat or lie in fewer dimensions than they have numbers, so have no density."""


def entropy_of(points: Array, k: int) -> float:
    """The entropy of points (n, d) in nats.

        H = psi(n) - psi(k) + log c_d + d mean_i log r_i

    for r_i the distance to the k-th neighbour and c_d the volume of the unit ball (Kozachenko &
    Leonenko 1987; Kraskov, Stoegbauer & Grassberger 2004, equation 20). The points are first made
    white, which the estimate is told, so that units and correlations do not matter.

    Raises:
        RepeatedError: where the points have no density.
        ValueError: where they are not finite.
    """
    distinct, place = _distinct(points)
    white, log_det = _whitened(distinct)
    n, d = white.shape
    radius = cKDTree(white).query(white, k + 1)[0][:, k]
    log_ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1)
    terms = digamma(n) - digamma(k) + log_ball + d * np.log(radius) + log_det
    return float(terms[place].mean())


def information_of(one: Array, other: Array, k: int) -> float:
    """I(one; other) in nats, of points (n, d) and (n, e).

        I = psi(k) + psi(n) - mean_i [psi(n_i + 1) + psi(m_i + 1)]

    for the numbers n_i and m_i of points nearer than the k-th neighbour in either (Kraskov et al.
    2004, equation 8).

    Raises:
        RepeatedError: where the points have no density.
    """
    distinct, place = _distinct(np.concatenate([one, other], 1))
    first, second = (_whitened(part)[0] for part in np.split(distinct, [one.shape[1]], axis=1))
    both = np.concatenate([first, second], 1)
    radius = cKDTree(both).query(both, k + 1, p=np.inf)[0][:, k]
    inside = np.nextafter(radius, 0.0)
    # A point counts itself, which is the + 1.
    counts = [
        cKDTree(part).query_ball_point(part, inside, p=np.inf, return_length=True)
        for part in (first, second)
    ]
    terms = digamma(k) + digamma(len(both)) - digamma(counts[0]) - digamma(counts[1])
    return float(terms[place].mean())


def split_error(estimate: Callable[..., float], points: Sequence[Array]) -> float:
    """The standard error of estimate(*points), from estimates of parts (Holmes & Nemenman 2019).

    The terms of neighbours depend on each other, so that their spread says too little. Parts of
    successive draws do not, and hold together what is alike along a chain.

    Args:
        estimate: of arrays of as many rows each.
        points: those arrays, whose rows are draws, chain after chain.
    """
    count = min(max(len(points[0]) // _PART, _FEWEST_PARTS), _MOST_PARTS)
    split = zip(*(np.array_split(p, count) for p in points), strict=True)
    return float(np.std([estimate(*part) for part in split], ddof=1) / math.sqrt(count))


def _distinct(points: Array) -> tuple[Array, NDArray[np.intp]]:
    """The points without repetitions, and where among them each point is.

    A sampler that rejects a step gives the draw before it once more. That is a neighbour at
    distance 0 which says nothing of the density, but counts in the mean.
    """
    if not np.isfinite(points).all():
        raise ValueError("some draws are not finite numbers, so that they have no entropy")
    distinct, place = np.unique(points, axis=0, return_inverse=True)
    share = 1 - len(distinct) / len(points)
    if share > _MOST_REPEATED:
        raise RepeatedError(
            f"{share:.0%} of the {len(points)} draws repeat others; a distribution with a density "
            "repeats none"
        )
    return distinct, place.reshape(-1)


def _whitened(points: Array) -> tuple[Array, float]:
    """The points with unit covariance, and the log determinant of the way back."""
    sd = points.std(0)
    if not (sd > 0).all():
        raise RepeatedError("a number of the site is the same at all draws")
    correlation = np.corrcoef(points, rowvar=False).reshape(len(sd), len(sd))
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < 1e-9:
        raise RepeatedError("one number of the site is a linear function of the others")
    white = (points - points.mean(0)) / sd @ (vectors / np.sqrt(values))
    return white, float(np.log(sd).sum() + 0.5 * np.log(values).sum())
