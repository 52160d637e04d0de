"""Hills of p(phi_i | D_i, theta) with their masses, and draws from all of them by weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.hills.given_states import by_states
from bayesmeta.model.density import Density
from bayesmeta.task_level.ascent import Modes, find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.corrected_draws import (
    are_normal,
    candidate_noise,
    from_all,
    log_mixture_of,
    steepened,
)
from bayesmeta.task_level.curvature import Curvature
from bayesmeta.task_level.importance import pick, without_nan
from bayesmeta.task_level.positive_definite import Precision

# Candidates for each draw of theta, and fewer where all draws share them.
_CANDIDATES, _AT_POINT = 8, 4
# Of candidates that are shared out among hills alike, whatever their masses by Laplace's method.
_ALIKE = 0.1
# Hills of less are none.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Hills:
    """Hills of phi at draws of theta, or at one that all share.

    Attributes:
        phi: where they are highest, (draws, hills, tasks, d_phi).
        precision: the curvature there, with these dimensions in front.
        log_mass: log of the integral of p(D_i, phi_i | theta) over each, by Laplace's method,
            (draws, hills, tasks).
        is_normal: of which tasks each hill has a normal density, bool (tasks,).
        conditional: the density of phi, of all hills together.
    """

    phi: Tensor
    precision: Precision
    log_mass: Tensor
    is_normal: Tensor
    conditional: Conditional

    @property
    def share(self) -> Tensor:
        """Of the mass, (draws, hills, tasks)."""
        return self.log_mass.softmax(1)


@dataclass(frozen=True)
class Mixed:
    """Draws of phi (draws, tasks, d_phi), and log weights of candidates (candidates, tasks).

    The latter are None where the density is a mixture of normals.
    """

    phi: Tensor
    log_weights: Tensor | None


def hills_of(
    density: Density, theta: Tensor, tasks: Tasks, curvature: Curvature, noise: TaskNoise
) -> Hills | None:
    """A hill for each joint value of discrete latents; None where tasks have none.

    Args:
        density: the model's.
        theta: draws (draws, d_theta).
        tasks: whose phi it is.
        curvature: of the density given values.
        noise: of the tasks, to look whether hills are normal.
    """
    found = by_states(density, tasks)
    if found is None:
        return None
    given, rows = found
    each = Conditional(given, rows, jacobian=True, curvature=curvature)
    mode = steepened(each, theta, find_mode(each, theta))
    (value,) = each.at(each.value, theta, mode.phi)
    _, log_det = mode.precision.solve(torch.zeros_like(mode.phi))
    mass = value + 0.5 * (mode.phi.shape[-1] * math.log(2 * math.pi) - log_det)

    def by_hill(x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, len(tasks)))

    log_mass = by_hill(without_nan(mass))
    return Hills(
        by_hill(mode.phi),
        curvature.form([by_hill(x) for x in mode.precision.tensors()]),
        log_mass,
        _are_normal(each, theta, mode, log_mass, noise),
        Conditional(density, tasks, jacobian=True, curvature=curvature),
    )


def _are_normal(
    each: Conditional, theta: Tensor, mode: Modes, log_mass: Tensor, noise: TaskNoise
) -> Tensor:
    """Of which tasks all hills that have any mass are normal, (tasks,)."""
    if not each.curvature.is_exact:
        return torch.ones(log_mass.shape[-1], dtype=torch.bool)
    few = mode.phi[:2].shape[0]
    x = noise.normal((few, log_mass.shape[-1], mode.phi.shape[-1]), mode.phi.dtype)
    normal = are_normal(each, theta, mode, x.repeat(1, log_mass.shape[1], 1))
    is_one = log_mass.softmax(1).amax(0) > _NOTHING
    return (normal.unflatten(0, is_one.shape) | ~is_one).all(0)


def mixed(hills: Hills, theta: Tensor, noise: TaskNoise, *, is_point: bool) -> Mixed:
    """Draws of phi, one for each draw of theta, out of all hills.

    Where hills are normal each draw is one of a hill, picked by its mass. Elsewhere draws are
    picked among candidates by importance weights (Rubin 1987),

        w = p(phi, D_i | theta) / q(phi),   q = sum_k (.9 share_k + .1 / hills) (N_k + t_k) / 2

    N_k and t_k the normal and Student's t of 4 degrees of freedom around hill k.

    Args:
        hills: of each draw of theta, or one of all at a point estimate.
        theta: draws (draws, d_theta).
        noise: of the tasks.
        is_point: whether all theta are the same.
    """
    shape = (len(theta), *hills.phi.shape[2:])
    share = hills.share
    phi = from_hills(hills, share, noise.normal(shape, theta.dtype), noise)
    if hills.is_normal.all():
        return Mixed(phi, None)
    count = _AT_POINT if is_point else _CANDIDATES
    even = (1 - _ALIKE) * share + _ALIKE / share.shape[1]
    kinds = [candidate_noise(k, shape, theta.dtype, noise) for k in range(count)]
    candidates = torch.stack([from_hills(hills, even, x, noise) for x in kinds])
    log_weights = torch.stack(
        [weights_of(hills, at, even, _heights(hills, theta, at)) for at in candidates]
    )
    log_weights = log_weights.masked_fill(hills.is_normal, 0.0)
    if is_point:
        flat, chances = candidates.flatten(0, 1), noise.uniform(shape[:2], torch.float64)
        chosen = from_all(log_weights.flatten(0, 1), chances)
        picked = flat.gather(0, chosen[..., None].expand(shape))
    else:
        chosen = pick(log_weights, noise)[None, ..., None].expand(-1, -1, -1, shape[-1])
        picked = candidates.gather(0, chosen)[0]
    # What a task gets does not depend on the others.
    own = torch.where(hills.is_normal[:, None], phi, picked)
    return Mixed(own, log_weights.transpose(0, 1).flatten(0, 1))


def from_hills(hills: Hills, share: Tensor, x: Tensor, noise: TaskNoise) -> Tensor:
    """Draws of hills picked by their shares, at noise x (draws, tasks, d_phi)."""
    below = share.cumsum(1)[:, :-1] < noise.uniform(x.shape[:2], share.dtype)[:, None]
    hill = below.sum(1)
    away = hills.precision.root().times(x[:, None].expand(-1, share.shape[1], -1, -1))
    place = hill[:, None, :, None].expand(-1, 1, -1, x.shape[-1])
    return (hills.phi + away).gather(1, place)[:, 0]


def _heights(hills: Hills, theta: Tensor, phi: Tensor) -> Tensor:
    """log p(phi, D_i | theta), (draws, tasks)."""
    return hills.conditional.at(hills.conditional.value, theta, phi)[0]


def weights_of(hills: Hills, phi: Tensor, share: Tensor, height: Tensor) -> Tensor:
    """log p(phi, D_i | theta) - log q(phi), (draws, tasks), of a q that has hills by such shares.

    Args:
        hills: of which q is made.
        phi: draws of q, (draws, tasks, d_phi).
        share: of the hills, (draws, hills, tasks).
        height: log p(phi, D_i | theta), (draws, tasks).
    """
    away = phi[:, None] - hills.phi
    _, log_det = hills.precision.solve(torch.zeros_like(hills.phi))
    each = log_mixture_of(hills.precision.quadratic(away), phi.shape[-1]) + 0.5 * log_det
    return without_nan(height) - (each + share.log()).logsumexp(1)
