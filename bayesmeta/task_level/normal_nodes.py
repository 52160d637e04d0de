"""Nodes and weights by which every task integrates over a standard normal of its own."""

from __future__ import annotations

import functools
import math

import numpy as np

# Of the variance of the nodes beyond 1, times sqrt(d): tails of phi are heavier than the normal's.
_EXCESS = 0.7
_RADII = 1 << 14


@functools.lru_cache(maxsize=8)
def normal_nodes(count: int, tasks: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes x (count, tasks, size) and log weights (count, tasks), the same at every call.

    For x ~ N(0, I) of `size` d numbers, sum_k w_k g(x_k) estimates E g(x). The nodes are those of
    importance sampling from N(0, s^2 I), s^2 = 1 + 0.7 / sqrt(d), with weights normalised:

        x_k = s r_k u_k,   w_k proportional to exp(-(s^2 - 1) r_k^2 / 2),   sum_k w_k = 1

    Directions u_k are orthogonal, d at a time, and come with -u_k; radii r_k are one to each
    stratum of the chi distribution (orthogonal Monte Carlo: Yu et al. 2016). Odd functions are
    integrated exactly, others with a fraction of the error of independent draws, and the errors of
    different tasks are independent. The excess over 1 bounds g where g has a tail heavier than
    normal; it makes the weights as uneven (a variance of a quarter) whatever d.
    """
    # Of one kind of number each, task by task: those of a task stay when others come behind it.
    of_frames, of_norms, of_strata, of_places = np.random.default_rng(0).spawn(4)
    pairs = count // 2
    if not size:
        return np.zeros((count, tasks, 0)), np.full((count, tasks), -math.log(count))
    width = min(size, pairs)
    frames = of_frames.standard_normal((tasks, math.ceil(pairs / width), size, width))
    # (tasks, blocks, size, width) to (pairs, tasks, size).
    directions = np.linalg.qr(frames)[0].transpose(1, 3, 0, 2).reshape(-1, tasks, size)[:pairs]
    norms = np.sqrt(of_norms.chisquare(size, _RADII))
    strata = np.argsort(of_strata.random((tasks, pairs)).T, axis=0)
    radii = np.quantile(norms, (strata + of_places.random((tasks, pairs)).T) / pairs)
    half = radii[..., None] * directions
    excess = _EXCESS / math.sqrt(size)
    log_weights = np.tile(-0.5 * excess * radii**2, (2, 1))
    log_weights -= np.logaddexp.reduce(log_weights, axis=0)
    return math.sqrt(1 + excess) * np.concatenate([half, -half]), log_weights
