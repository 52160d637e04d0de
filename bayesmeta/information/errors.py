"""Estimates with the errors that they state: of few draws, and of neighbours that are far."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy
import torch
from torch import Tensor

from bayesmeta.information.nearest_neighbours import Array, Term
from bayesmeta.information.states import unseen

Found = tuple[float, float]

_FEWEST_PARTS, _MOST_PARTS, _PART = 5, 20, 100
_FARTHER, _ROUNDED, _SURE = 4, 16, 0.975


def by_neighbours(estimate: Callable[..., list[Term]], points: Sequence[Array], k: int) -> Found:
    """The sum of the terms of estimate(*points, [k]), and its error.

    The error is that of few draws (`split_error`), and beside it the bias. Where the density is
    not even between a point and its k-th neighbour, a term is off by c (k / n)^(1/d) or less; of a
    smooth density by that to the power of two. So what farther neighbours give tells how far off
    the nearer ones may be.

    Args:
        estimate: of arrays of as many rows each, for each of the numbers of neighbours given.
        points: those arrays, whose rows are draws, chain after chain.
        k: which neighbour.
    """
    terms = estimate(*points, (k, _FARTHER * k))
    biases = [(t.values[1] - t.values[0]) / (_FARTHER ** (1 / t.d) - 1) for t in terms]

    def near(*part: Array) -> float:
        return _total(estimate(*part, (k,)))

    return _total(terms), math.hypot(split_error(near, points), *biases)


def by_states(estimate: Callable[..., float], draws: Sequence[Array]) -> Found:
    """estimate(*draws), of discrete ones, and its error: also that of a state which is too rare."""
    return estimate(*draws), math.hypot(split_error(estimate, draws), unseen(len(draws[0])))


def by_mean(terms: Tensor) -> Found:
    """The mean of terms (n,), one a draw, and its error; at least that of rounding."""
    rounding = _ROUNDED * torch.finfo(terms.dtype).eps * max(1.0, float(terms.abs().mean()))
    exact = terms.double().cpu().numpy()
    return float(exact.mean()), math.hypot(split_error(np.mean, [exact]), rounding)


def split_error(estimate: Callable[..., float], points: Sequence[Array]) -> float:
    """The standard error of estimate(*points), from estimates of parts (Holmes & Nemenman 2019).

    The terms of neighbours depend on each other, so that their spread says too little. Parts of
    successive draws do not, and hold together what is alike along a chain. A few parts may be alike
    by chance: so it is wider, as Student's t is than the normal at 97.5%.

    Args:
        estimate: of arrays of as many rows each.
        points: those arrays, whose rows are draws, chain after chain.
    """
    count = min(max(len(points[0]) // _PART, _FEWEST_PARTS), _MOST_PARTS)
    split = zip(*(np.array_split(p, count) for p in points), strict=True)
    spread = np.std([estimate(*part) for part in split], ddof=1)
    return float(
        spread
        / math.sqrt(count)
        * scipy.special.stdtrit(count - 1, _SURE)
        / scipy.special.ndtri(_SURE)
    )


def _total(terms: Sequence[Term]) -> float:
    return float(sum(term.values[0] for term in terms))
