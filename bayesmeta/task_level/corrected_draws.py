"""Draws of p(phi_i | theta, D_i) by importance weights on what the mode and curvature say of it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.task_level.ascent import Modes
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.importance import pick, without_nan
from bayesmeta.task_level.positive_definite import DensePrecision, Precision

# Candidates for each draw: half of them normal, half Student's t, whose tail bounds the weights.
# At a point estimate all draws share them, so that fewer do.
_CANDIDATES, _AT_POINT, _FREEDOM = 8, 4, 4
# Draws at which it is seen whether the density is normal.
_LOOKS = 2


class Corrected(NamedTuple):
    """Draws in the coordinates x of phi = mode + root x, (draws, tasks, d_phi).

    And the log weights of the candidates that they were picked from, (candidates, tasks): None
    where the density is the normal itself.
    """

    x: Tensor
    log_weights: Tensor | None


def steepened(conditional: Conditional, theta: Tensor, mode: Modes) -> Modes:
    """The modes with A + g g' for the curvature A, where a mode on an edge has a gradient g.

    There the density falls off as exp(-|g x|), whose width A does not know. Only where an outcome
    has an edge that is drawn is there a mode of that kind.
    """
    if not (conditional.density.reading.bounded and isinstance(mode.precision, DensePrecision)):
        return mode
    _, g = conditional.at(conditional.slope, theta, mode.phi)
    matrix = mode.precision.matrix + g[..., None] * g[..., None, :]
    return Modes(mode.phi, DensePrecision(matrix))


def corrected(
    conditional: Conditional,
    theta: Tensor,
    mode: Modes,
    noise: TaskNoise,
    *,
    is_point: bool,
) -> Corrected:
    """Draws of phi, one for each draw of theta, picked among candidates by importance weights.

        w = p(phi, D_i | theta) / q(phi),   q = (N(mode, A^{-1}) + t_4(mode, A^{-1})) / 2

    for phi = mode + root x (Rubin 1987). At a point estimate all draws are picked from all
    candidates.

    Args:
        conditional: the density.
        theta: draws (draws, d_theta).
        mode: of each of them, or one of all at a point estimate.
        noise: of the tasks.
        is_point: whether all theta are the same.
    """
    root = mode.precision.root()
    shape = (len(theta), *mode.phi.shape[1:])
    first = noise.normal(shape, theta.dtype)
    normal = are_normal(conditional, theta, mode, first)
    if normal.all():
        return Corrected(first, None)
    count = _AT_POINT if is_point else _CANDIDATES
    xs = [first, *(candidate_noise(k, shape, theta.dtype, noise) for k in range(1, count))]
    weights = [
        _density(conditional, theta, mode.phi + root.times(x)) - log_mixture(x, shape[-1])
        for x in xs
    ]
    x, log_weights = torch.stack(xs), torch.stack(weights).masked_fill(normal, 0.0)
    if is_point:
        x = x.flatten(0, 1)
        chosen = from_all(log_weights.flatten(0, 1), noise.uniform(shape[:2], torch.float64))
        picked = x.gather(0, chosen[..., None].expand(shape))
    else:
        chosen = pick(log_weights, noise)[None, ..., None].expand(-1, -1, -1, shape[-1])
        picked = x.gather(0, chosen)[0]
    # What a task gets does not depend on the others.
    own = torch.where(normal[:, None], first, picked)
    return Corrected(own, _mixed(log_weights.flatten(0, 1), count))


def _mixed(log_weights: Tensor, count: int) -> Tensor:
    """The same with candidates of both kinds among the first, as among all."""
    return log_weights.unflatten(0, (count, -1)).transpose(0, 1).flatten(0, 1)


def _density(conditional: Conditional, theta: Tensor, phi: Tensor) -> Tensor:
    (value,) = conditional.at(conditional.value, theta, phi)
    return without_nan(value)


def are_normal(conditional: Conditional, theta: Tensor, mode: Modes, x: Tensor) -> Tensor:
    """Of which tasks the density at some draws of the normal is that of the normal, (tasks,).

    It runs the graph that is at hand, one draw after the other: most of the time of a task with a
    normal density would be spent on making another.
    """
    small = math.sqrt(torch.finfo(x.dtype).eps)
    away = mode.phi[:_LOOKS] + _first(mode, _LOOKS).root().times(x[:_LOOKS])
    normal = torch.ones(x.shape[1], dtype=torch.bool)
    for k in range(len(away)):
        at, here = theta[k : k + 1], min(k, len(mode.phi) - 1)
        top = conditional.at(conditional.curve, at, mode.phi[here : here + 1])[0]
        there = conditional.at(conditional.curve, at, away[k : k + 1])[0]
        change = top - there - 0.5 * x[k].square().sum(-1)
        normal &= (change.abs() <= small * (1 + top.abs()))[0]
        if not normal.any():
            break
    return normal


def _first(mode: Modes, count: int) -> Precision:
    """The precision of the first of the modes."""
    return type(mode.precision)(*(part[:count] for part in mode.precision.tensors()))


def candidate_noise(k: int, shape: tuple[int, ...], dtype: torch.dtype, noise: TaskNoise) -> Tensor:
    """Noise of candidate k, standard normal where k is even, else of Student's t."""
    x = noise.normal(shape, dtype)
    if k % 2 == 0:
        return x
    chi = noise.normal((*shape[:-1], _FREEDOM), dtype).square().mean(-1, keepdim=True)
    return x / chi.sqrt()


def log_mixture(x: Tensor, d: int) -> Tensor:
    """log of (N(0, I) + t_4(0, I)) / 2 at x, (..., tasks)."""
    return log_mixture_of(x.square().sum(-1), d)


def log_mixture_of(size: Tensor, d: int) -> Tensor:
    """The same by |x|^2, (..., tasks)."""
    v = _FREEDOM
    by_normal = -0.5 * size - 0.5 * d * math.log(2 * math.pi)
    constant = math.lgamma((v + d) / 2) - math.lgamma(v / 2) - 0.5 * d * math.log(v * math.pi)
    by_t = constant - 0.5 * (v + d) * (size / v).log1p()
    return torch.logaddexp(by_normal, by_t) - math.log(2)


def from_all(log_weights: Tensor, chances: Tensor) -> Tensor:
    """Which of the candidates (candidates, tasks), by uniform numbers (count, tasks)."""
    # In float64: some thousands of weights are summed.
    share = log_weights.double().softmax(0).cumsum(0).mT.contiguous()
    at = chances.mT.contiguous() * share[:, -1:]
    return torch.searchsorted(share, at).clamp(max=len(log_weights) - 1).mT
