"""Draws of p(phi_i | theta, D_i) by preconditioned Hamiltonian Monte Carlo."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.task_level.ascent import find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.corrected_draws import corrected, steepened


class _Point(NamedTuple):
    """A place in whitened coordinates (draws, tasks, d_phi), with the log density and its slope."""

    z: Tensor
    value: Tensor
    slope: Tensor


class _Whitened:
    """phi = mode + root z, where the curvature at the mode is the identity in z."""

    def __init__(self, conditional: Conditional, theta: Tensor, *, is_point: bool) -> None:
        # A point estimate is repeated for each draw of phi, but has a single mode.
        points = theta[:1] if is_point else theta
        self.mode = steepened(conditional, points, find_mode(conditional, points))
        self.root = self.mode.precision.root()
        self.conditional, self.theta = conditional, theta
        self.shape = (len(theta), *self.mode.phi.shape[1:])

    def phi(self, z: Tensor) -> Tensor:
        return self.mode.phi + self.root.times(z)

    def at(self, z: Tensor) -> _Point:
        value, gradient = self.conditional.at(self.conditional.slope, self.theta, self.phi(z))
        return _Point(z, value, self.root.transposed_times(gradient))


def draw_conditional(
    conditional: Conditional,
    theta: Tensor,
    noise: TaskNoise,
    *,
    transitions: int,
    leapfrogs: int,
    step_size: float,
    is_point: bool = False,
) -> tuple[Tensor, Tensor]:
    """One draw of phi for each draw of theta, from p(phi | theta, D).

    Hamiltonian Monte Carlo in coordinates whitened by the curvature at the mode, started from the
    Laplace approximation with importance weights, with an accept step of its own for each draw and
    task (they are independent given theta). Exact where the conditional is Gaussian; elsewhere the
    accept steps correct the start.

    Returns:
        phi (draws, tasks, d_phi), and each task's mean acceptance rate (tasks,).
    """
    space = _Whitened(conditional, theta, is_point=is_point)
    begun = corrected(conditional, theta, space.mode, noise, is_point=is_point)
    here = space.at(begun.x)
    accepted = torch.zeros(space.shape[:2], dtype=theta.dtype)
    for _ in range(transitions):
        start = noise.normal(space.shape, theta.dtype)
        there, momentum = _leapfrog(space, here, start, leapfrogs, step_size)
        kinetic = 0.5 * (start.square().sum(-1) - momentum.square().sum(-1))
        gain = there.value - here.value + kinetic
        rate = torch.nan_to_num(gain, nan=-torch.inf).clamp(max=0).exp()
        take = noise.uniform(rate.shape, rate.dtype) < rate
        here = _Point(
            torch.where(take[..., None], there.z, here.z),
            torch.where(take, there.value, here.value),
            torch.where(take[..., None], there.slope, here.slope),
        )
        accepted += rate / transitions
    return space.phi(here.z), accepted.mean(0)


def _leapfrog(
    space: _Whitened, at: _Point, momentum: Tensor, steps: int, step_size: float
) -> tuple[_Point, Tensor]:
    """Where a trajectory ends, and with which momentum."""
    for _ in range(steps):
        momentum = momentum + 0.5 * step_size * at.slope
        at = space.at(at.z + step_size * momentum)
        momentum = momentum + 0.5 * step_size * at.slope
    return at, momentum
