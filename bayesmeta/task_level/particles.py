"""Densities at several phi of each task at once: draws stand side by side as tasks of their own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import score
from bayesmeta.task_level.curvature import log_density

OfDraws = Callable[[Tensor], Tensor]


def joint_of(density: Density, theta: Tensor, parts: Sequence[Tasks]) -> OfDraws:
    """log p(D_i, phi_k | theta), (particles, tasks), of phi (particles, tasks, d_phi)."""

    def joint(phi: Tensor) -> Tensor:
        many = [copies(part, len(phi)) for part in parts]
        value = log_density(density, theta, phi.flatten(0, 1), many, jacobian=True)
        return value.unflatten(0, phi.shape[:2])

    return joint


def score_of(density: Density, theta: Tensor, tasks: Tasks) -> OfDraws:
    """log p(query_i | phi_k, theta), or of D_i itself without a query, (particles, tasks)."""
    query = tasks if tasks.query is None else tasks.query

    def scored(phi: Tensor) -> Tensor:
        value = score(density, theta, phi.flatten(0, 1), copies(query, len(phi)))
        return value.unflatten(0, phi.shape[:2])

    return scored


def log_mean(values: Tensor) -> Tensor:
    """log 1/K sum_k exp(values_k), over the first dimension."""
    return torch.logsumexp(values, 0) - math.log(len(values))


def copies(tasks: Tasks, count: int) -> Tasks:
    """The tasks, `count` times one after the other."""
    # On the CPU, where names are looked up by it too.
    return tasks.select(torch.arange(tasks.num_tasks, device="cpu").repeat(count))
