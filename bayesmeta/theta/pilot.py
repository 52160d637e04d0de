"""The posterior of theta in a second: its mode by nested Laplace, and its curvature as units."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.capture import CaptureError
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.phi.laplace import Laplace
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.theta.log_posterior import MOST_THETA, LogPosterior

_MOST_TASKS, _FEWEST_TASKS, _CELLS = 256, 16, 200_000
# In posterior standard deviations: what is farther from its mode is no mode.
_FAR = 0.1


@dataclass(frozen=True)
class Pilot:
    """p(theta | D) as the Gaussian N(theta, P^{-1}) at its mode, unconstrained.

    Strategies start there, and take its standard deviations as units: what they do is then the
    same for data in grams and in tonnes.

    Attributes:
        theta: the mode, (d_theta,).
        precision: P, (d_theta, d_theta), positive definite.
    """

    theta: Tensor
    precision: Tensor

    @cached_property
    def root(self) -> Tensor:
        """The lower S with S S' = P^{-1}."""
        found: Tensor = torch.linalg.cholesky(torch.linalg.inv(self.precision))
        return found

    @property
    def sd(self) -> Tensor:
        """Of each coordinate, (d_theta,)."""
        return self.root.square().sum(1).sqrt()


def find_pilot(density: Density, tasks: Tasks, seed: int) -> Pilot | None:
    """The pilot by at most 256 tasks, which stand for all.

    None where nested Laplace does not apply: for networks, for theta of more than 256 numbers, for
    models without second derivatives, and where its search ends at no maximum.
    """
    if not is_for_newton(density, tasks):
        return None
    some = _some(tasks, density.d_phi, seed)
    weight = tasks.num_tasks / some.num_tasks
    try:
        found = LogPosterior(density, Laplace(), some, jacobian=True, weight=weight).maximum()
    except (CaptureError, StructureError):
        return None
    if not found.distance < _FAR:
        return None
    return Pilot(found.at, found.hessian)


def is_for_newton(density: Density, tasks: Tasks) -> bool:
    """Whether theta is of few numbers, and phi no network's weights."""
    if not 1 <= density.d_theta <= MOST_THETA:
        return False
    return not density.d_phi or isinstance(choose(None, density, tasks), Hessian)


def _some(tasks: Tasks, d_phi: int, seed: int) -> Tasks:
    """So many of the tasks that a gradient takes milliseconds."""
    most = _CELLS // (tasks.num_data * (1 + d_phi) ** 2)
    count = min(tasks.num_tasks, _MOST_TASKS, max(_FEWEST_TASKS, most))
    if count == tasks.num_tasks and not tasks.are_episodes:
        return tasks
    generator = torch.Generator().manual_seed(seed)
    return tasks.select(torch.randperm(tasks.num_tasks, generator=generator)[:count].sort().values)
