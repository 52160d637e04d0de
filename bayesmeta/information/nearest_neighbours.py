"""Entropy and mutual information of points, by distances to nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import NDArray

from bayesmeta.information.normal_points import excess, log_ball

Array = NDArray[np.float64]

SURE, MOST = 10, 16

_MOST_REPEATED, _ATOM, _RUNS = 0.5, 0.01, 5
_UNLIKE_NORMAL = 0.5


class RepeatedError(ValueError):
    """Points that repeat or lie in fewer dimensions than they have numbers, so have no density."""


class Term(NamedTuple):
    """A part of an estimate that adds up: in how many dimensions, and by which neighbours.

    Attributes:
        d: of the balls around the points.
        values: in nats, by the k-th neighbours for each k that was asked for.
    """

    d: int
    values: Array


def entropy_terms(points: Array, ks: Sequence[int]) -> list[Term]:
    """The entropy of points (n, d) in nats, by the k-th neighbours, for each k.

        H = sum_j H(x_j) - T,    T = sum_j H(x_j) - H(x)

    H(x_j) is by the distances in that number alone, and the total correlation T by those between
    normal scores, which increasing maps of a number leave alone: to them there is no heavy tail.

    Raises:
        RepeatedError: where the points have no density.
        ValueError: where they are not finite.
    """
    distinct, counts = _distinct(points)
    alone = [Term(1, _alone(column, counts, ks)) for column in distinct.T]
    together = _total_correlation(_scores(distinct), counts, ks)
    return [*alone, Term(together.d, -together.values)]


def information_terms(one: Array, other: Array, ks: Sequence[int]) -> list[Term]:
    """I(one; other) in nats, of points (n, d) and (n, e), for each k.

        I = T(one, other) - T(one) - T(other)

    for the total correlations T of normal scores, as of `entropy_terms`.

    Raises:
        RepeatedError, ValueError: as for `entropy_terms`.
    """
    distinct, counts = _distinct(np.concatenate([one, other], 1))
    scores = _scores(distinct)
    each = scores, scores[:, : one.shape[1]], scores[:, one.shape[1] :]
    both, first, second = (_total_correlation(part, counts, ks) for part in each)
    return [both, Term(first.d, -first.values), Term(second.d, -second.values)]


def is_unlike_normal(points: Array) -> bool:
    """Whether points of more than `SURE` numbers are far from normal, as of a funnel.

    There neighbours lie so far off that farther ones say the same, and no error can be read off
    them. Whether the covariances of squares with squares and with numbers are those of a normal
    distribution does tell it. It is asked of their normal scores, white.
    """
    n, d = points.shape
    if d <= SURE:
        return False
    white = _whitened(_scores(points))[0]
    squares = (white**2 - 1) / math.sqrt(2)
    of_squares = squares.T @ squares / n - np.eye(d)
    far = max(np.abs(of_squares).max(), np.abs(squares.T @ white).max() / n)
    return bool(far > _UNLIKE_NORMAL + 6 / math.sqrt(n))


def _alone(column: Array, counts: Array, ks: Sequence[int]) -> Array:
    """The entropy of one number."""
    values, place = np.unique(column, return_inverse=True)
    often = np.asarray(np.bincount(place, counts), dtype=np.float64)
    return _estimates(values[:, None], often, ks)


def _total_correlation(scores: Array, counts: Array, ks: Sequence[int]) -> Term:
    """sum_j H(z_j) - H(z) of standard normal z_j, for each k."""
    d = scores.shape[1]
    if d == 1:
        return Term(1, np.zeros(len(ks)))
    white, log_det = _whitened(scores)
    cross = np.average(0.5 * (scores**2 + math.log(2 * math.pi)).sum(1), weights=counts)
    return Term(d, cross - log_det - _estimates(white, counts, ks))


def _estimates(points: Array, counts: Array, ks: Sequence[int]) -> Array:
    """psi(n) - psi(k) + log c_d + d mean_i log r_i, less what that is off for normal points.

    r_i is the distance to the k-th neighbour, and c_d the volume of the unit ball (Kozachenko &
    Leonenko 1987; Kraskov, Stoegbauer & Grassberger 2004, equation 20).
    """
    n, d = points.shape
    if n <= max(ks):
        raise RepeatedError(f"only {n} are distinct")
    radii = _gaps(points[:, 0], ks) if d == 1 else _radii(points, ks)
    logs = np.average(np.log(radii), axis=0, weights=counts)
    plain = [scipy.special.digamma(n) - scipy.special.digamma(k) + log_ball(d) for k in ks]
    return np.asarray(plain) + d * logs - [excess(n, d, k) for k in ks]


def _radii(points: Array, ks: Sequence[int]) -> Array:
    """The distances of points to their k-th neighbours, (n, len(ks)); the first is the point."""

    return np.asarray(scipy.spatial.cKDTree(points).query(points, [k + 1 for k in ks])[0])


def _gaps(ordered: Array, ks: Sequence[int]) -> Array:
    """The distances of ordered numbers to their k-th neighbours, (n, len(ks))."""
    n, radii = len(ordered), np.full((len(ordered), len(ks)), np.inf)
    for column, k in enumerate(ks):
        for below in range(k + 1):
            at = np.arange(below, n - k + below)
            left = ordered[at] - ordered[at - below]
            right = ordered[at - below + k] - ordered[at]
            radii[at, column] = np.minimum(radii[at, column], np.maximum(left, right))
    return radii


def _scores(points: Array) -> Array:
    """Each number as that of its rank among normal draws (Bell & Doksum 1965), (n, d).

    Of points whose numbers are independent these are normal draws, to which `excess` belongs; the
    normal quantiles of the ranks lie more evenly than draws do. Every number gets the same draws,
    and counts downwards where that is how it goes with the first, so that what is a function of
    another stays one.
    """
    ranks = points.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    centred = ranks - 0.5 * (len(points) - 1)
    is_against = centred.T @ centred[:, 0] < 0
    draws = np.sort(np.random.default_rng(0).normal(size=len(points)))
    return draws[np.where(is_against, len(points) - 1 - ranks, ranks)]


def _distinct(points: Array) -> tuple[Array, Array]:
    """The points without repetitions, and how often each is there.

    A sampler that rejects a step gives the draw before it once more. That is a neighbour at
    distance 0 which says nothing of the density, but counts in the mean.
    """
    if not np.isfinite(points).all():
        raise ValueError("some draws are not finite numbers, so that they have no entropy")
    for column in points.T:
        _check_repeated(*np.unique(column, return_inverse=True, return_counts=True)[1:])
    found, counts = np.unique(points, axis=0, return_counts=True)
    return found, counts.astype(np.float64)


def _check_repeated(place: NDArray[np.intp], counts: NDArray[np.intp]) -> None:
    """Refuse one number that has no density, of which it is known where its values are."""
    n = len(place)
    if len(counts) == 1:
        raise RepeatedError("a number of the site is the same at all draws")
    share = 1 - len(counts) / n
    if share > _MOST_REPEATED:
        raise RepeatedError(
            f"{share:.0%} of the {n} draws repeat others; a distribution with a density "
            "repeats none"
        )
    often = place == counts.argmax()
    runs = int((often[1:] & ~often[:-1]).sum()) + int(often[0])
    if counts.max() > max(10, _ATOM * n) and runs >= _RUNS:
        raise RepeatedError(
            f"{counts.max()} of the {n} draws are one and the same number, come back to {runs} "
            "times, as where a distribution goes on beyond the last of the floats"
        )


def _whitened(points: Array) -> tuple[Array, float]:
    """The points with unit covariance, and the log determinant of the way there."""
    sd = points.std(0)
    correlation = np.corrcoef(points, rowvar=False)
    values, vectors = np.linalg.eigh(correlation)
    if values[0] < 1e-9:
        raise RepeatedError("one number of the site is a function of the others")
    white = (points - points.mean(0)) / sd @ (vectors / np.sqrt(values))
    return white, float(np.log(sd).sum() + 0.5 * np.log(values).sum())
