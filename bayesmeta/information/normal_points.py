"""What nearest neighbours say of normal points, whose entropy is known: how far they are off."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import scipy

NORMAL = 0.5 * math.log(2 * math.pi * math.e)

_NODES, _HALVINGS = (40, 20), 50


def excess(n: int, d: int, k: int) -> float:
    """The mean of Kozachenko & Leonenko's estimate of n normal points in d dimensions, less H.

        E[psi(n) - psi(k) + log c_d + d log r] - d/2 log(2 pi e)

    A ball of radius r around a point at distance s from the middle holds the chance F(r^2) of a
    noncentral chi-squared with d degrees of freedom and s^2 beside them. That of the ball up to
    the k-th neighbour is Beta(k, n - k), so that r follows, and its mean by quadrature over s and
    that chance. n counts to 2.5%: the excess goes with n^(-2/d), at most.
    """
    return _excess(round(20 * math.log(n)), d, k)


def log_ball(d: int) -> float:
    """The log volume of the unit ball in d dimensions."""
    return 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1)


@lru_cache(maxsize=4096)
def _excess(step: int, d: int, k: int) -> float:
    n = math.exp(step / 20)
    (at_s, of_s), (at_v, of_v) = (_uniform(count) for count in _NODES)
    squared, chance = (
        scipy.special.chdtri(d, at_s)[:, None],
        scipy.special.betaincinv(k, n - k, at_v),
    )
    low, high = (np.full((len(at_s), len(at_v)), edge) for edge in (-20.0, 6.0))
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        is_within = scipy.special.chndtr(np.exp(2 * middle), d, squared) < chance
        low, high = np.where(is_within, middle, low), np.where(is_within, high, middle)
    log_radius = of_s @ (0.5 * (low + high)) @ of_v
    return float(
        scipy.special.digamma(n)
        - scipy.special.digamma(k)
        + log_ball(d)
        + d * (log_radius - NORMAL)
    )


def _uniform(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss & Legendre on (0, 1)."""
    nodes, weights = scipy.special.roots_legendre(count)
    return 0.5 * (nodes + 1), 0.5 * weights
