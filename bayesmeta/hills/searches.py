"""Hills of p(phi_i | D_i, theta) of any model, by searches that start at draws of the prior."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.hills.mixture import Hills, from_hills, weights_of
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_phi
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.ascent import climb, find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.corrected_draws import candidate_noise
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.positive_definite import DensePrecision, Precision

# In standard deviations of a hill: what is nearer is the same, and what a search that has ended
# would still go.
_APART, _ARRIVED = 0.5, 1e-3
# Candidates of each hill by which their masses are measured; draws of theta at which the prior is
# drawn from, as each takes a run of the model.
_CANDIDATES, _PRIORS = 12, 8


class Masses(NamedTuple):
    """What hills hold of p(phi_i | D_i, theta), by importance weights.

    Attributes:
        missed: the share that is not of the hill which the usual search ends at, (draws, tasks).
        mean, sd: of phi, (draws, tasks, d_phi).
    """

    missed: Tensor
    mean: Tensor
    sd: Tensor


def search_hills(
    density: Density,
    theta: Tensor,
    tasks: Tasks,
    starts: int,
    seed: int,
    more: Tensor | None = None,
) -> Hills:
    """Hills at which a search from the middle of the prior ends, the first, or from draws of it.

    A hill at which several end counts once: the others have no mass, and stand where the first is.
    So do searches that end nowhere.

    Args:
        density: of a phi of few numbers.
        theta: draws (draws, d_theta).
        tasks: whose phi it is.
        starts: how many draws of p(phi | theta).
        seed: of these.
        more: further starts, (any, draws, tasks, d_phi).
    """
    conditional = Conditional(density, tasks, jacobian=True, curvature=Hessian())
    begun = _prior_draws(density, theta, tasks, starts, seed)
    begun = begun if more is None else torch.cat([begun, more])
    count = len(begun)
    middle = find_mode(conditional, theta).phi
    ends, _ = climb(conditional, theta.repeat(count, 1), near=begun.flatten(0, 1))
    phi = torch.cat([middle[None], ends.unflatten(0, (count, -1))])
    each = conditional.at(conditional.curve, theta.repeat(1 + count, 1), phi.flatten(0, 1))
    value, _, step, matrix = (x.unflatten(0, (1 + count, -1)).transpose(0, 1) for x in each)
    phi, arrived = phi.transpose(0, 1), DensePrecision(matrix).quadratic(step) < _ARRIVED**2
    kept = _distinct(phi, DensePrecision(matrix), arrived & value.isfinite())
    return _packed(conditional, phi, matrix, value, kept)


def _prior_draws(density: Density, theta: Tensor, tasks: Tasks, starts: int, seed: int) -> Tensor:
    """Draws of p(phi | theta), (starts, draws, tasks, d_phi), theta of neighbours among many."""
    few = torch.linspace(0, len(theta) - 1, min(_PRIORS, len(theta))).long()
    with isolated(seed=seed), torch.no_grad():
        drawn = [
            torch.stack([draw_prior_phi(density, theta[k], tasks) for k in few])
            for _ in range(starts)
        ]
    nearest = (torch.arange(len(theta))[:, None] - few).abs().argmin(1)
    return torch.stack(drawn)[:, nearest]


def _packed(
    conditional: Conditional, phi: Tensor, matrix: Tensor, value: Tensor, kept: Tensor
) -> Hills:
    """Hills that are kept, as many as there are at most; others stand where the first of them is.

    The first place is that of the usual search.
    """
    is_first = torch.arange(kept.shape[1])[:, None] == 0
    order = (kept | is_first).int().argsort(dim=1, descending=True, stable=True)
    order = order[:, : int((kept | is_first).sum(1).max())]
    is_one = kept.gather(1, order)
    at = torch.where(is_one, order, kept.int().argmax(1, keepdim=True))
    phi = phi.gather(1, at[..., None].expand(*at.shape, phi.shape[-1]))
    matrix = matrix.gather(1, at[..., None, None].expand(*at.shape, *matrix.shape[-2:]))
    _, log_det = DensePrecision(matrix).solve(phi)
    mass = value.gather(1, at) + 0.5 * (phi.shape[-1] * math.log(2 * math.pi) - log_det)
    log_mass = torch.where(is_one, mass, -torch.inf)
    is_normal = torch.zeros(kept.shape[-1], dtype=torch.bool)
    return Hills(phi, DensePrecision(matrix), log_mass, is_normal, conditional)


def _distinct(phi: Tensor, precision: Precision, valid: Tensor) -> Tensor:
    """Which of the hills (draws, hills, tasks, d_phi) are valid, and the first of their kind."""
    kept = [valid[:, 0]]
    for k in range(1, phi.shape[1]):
        away = precision.quadratic(phi - phi[:, k : k + 1])
        near = torch.stack([(away[:, j] < _APART**2) & kept[j] for j in range(k)]).any(0)
        kept.append(valid[:, k] & ~near)
    return torch.stack(kept, 1)


def masses_of(hills: Hills, theta: Tensor, noise: TaskNoise) -> Masses:
    """Masses of hills by weights of candidates from all of them."""
    count = hills.phi.shape[1] * _CANDIDATES
    shape = (len(theta), *hills.phi.shape[2:])
    is_one = hills.log_mass > -torch.inf
    even = 0.5 * hills.share + 0.5 * is_one / is_one.sum(1, keepdim=True).clamp(min=1)
    candidates = torch.stack(
        [
            from_hills(hills, even, candidate_noise(k, shape, theta.dtype, noise), noise)
            for k in range(count)
        ]
    )
    # All at once, by one run of the graph.
    (value,) = hills.conditional.at(
        hills.conditional.value, theta.repeat(count, 1), candidates.flatten(0, 1)
    )
    heights = value.unflatten(0, (count, -1))
    weights = torch.stack(
        [weights_of(hills, at, even, top) for at, top in zip(candidates, heights, strict=True)]
    ).softmax(0)
    _, log_det = hills.precision.solve(torch.zeros_like(hills.phi))
    size = torch.stack([hills.precision.quadratic(at[:, None] - hills.phi) for at in candidates])
    among = (hills.log_mass.log_softmax(1) + 0.5 * log_det - 0.5 * size).softmax(2)
    w = weights[..., None]
    mean = (w * candidates).sum(0)
    sd = (w * (candidates - mean).square()).sum(0).sqrt()
    return Masses((weights * (1 - among[:, :, 0])).sum(0), mean, sd)
