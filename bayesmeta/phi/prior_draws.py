"""phi of tasks without datapoints: draws of the prior, where its normal scores are not known."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_phi
from bayesmeta.model.structure import Role
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.particles import copies
from bayesmeta.task_level.scored_density import by_scores


def with_prior_draws(
    density: Density,
    theta: Tensor,
    phi: Tensor,
    tasks: Tasks,
    noise: TaskNoise,
    *,
    is_point: bool,
) -> Tensor:
    """Draws (draws, tasks, d_phi), those of empty tasks anew from p(phi | theta).

    By scores they are so already. What a factor says of a task is no part of this prior: such
    models are left as they are.

    Args:
        density, theta, tasks: what phi was inferred of.
        phi: unconstrained draws.
        noise: gives each task's seed.
        is_point: whether all theta are the same.
    """
    nodes = density.structure.nodes.values()
    is_known = by_scores(density, tasks).scored == set(density.structure.phi)
    if is_known or density.d_local or any(node.role is Role.FACTOR for node in nodes):
        return phi
    found = phi.clone()
    for t in (tasks.sizes == 0).nonzero()[:, 0].tolist():
        at = torch.tensor([t], device="cpu")
        one, chance = tasks.select(at), noise.select(at).uniform((1, 1), torch.float64)
        with isolated(seed=int(float(chance) * 2**31)), torch.no_grad():
            if is_point:
                found[:, t] = draw_prior_phi(density, theta[0], copies(one, len(theta)))
            else:
                found[:, t] = torch.cat([draw_prior_phi(density, point, one) for point in theta])
    return found
