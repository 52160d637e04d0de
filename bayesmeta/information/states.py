"""Entropy of discrete draws, by how often each state comes."""

from __future__ import annotations

import math

import numpy as np

from bayesmeta.information.nearest_neighbours import Array


def entropy_of_states(draws: Array) -> float:
    """H = -sum_z p(z) log p(z) in nats, of draws (n, numbers), for the shares p of their states.

    It gets (states - 1) / (2 n) on top, by which it is too small on average (Miller 1955).
    """
    counts = np.unique(draws, axis=0, return_counts=True)[1]
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum() + (len(counts) - 1) / (2 * len(draws)))


def unseen(n: int) -> float:
    """What a state that is too rare to be among n draws may have, in nats: log(n) / n."""
    return math.log(n) / n
