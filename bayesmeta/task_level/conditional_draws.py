"""Draws of p(phi_i | theta, D_i) by preconditioned Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.engine.noise import normal, uniform
from bayesmeta.task_level.ascent import find_mode
from bayesmeta.task_level.conditional import Conditional

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]


class _Point(NamedTuple):
    """A place in whitened coordinates (draws, tasks, d_phi), with the log density and its slope."""

    z: Tensor
    value: Tensor
    slope: Tensor


def draw_phi(
    conditional: Conditional,
    theta: Tensor,
    generator: torch.Generator,
    *,
    transitions: int,
    leapfrogs: int,
    step_size: float,
    is_point: bool = False,
) -> tuple[Tensor, Tensor]:
    """One draw of phi for each draw of theta, from p(phi | theta, D).

    Hamiltonian Monte Carlo in coordinates whitened by the curvature at the mode, started from the
    Laplace approximation, with an accept step of its own for each draw and task (they are
    independent given theta). Exact where the conditional is Gaussian; elsewhere the accept steps
    correct the start.

    Returns:
        phi (draws, tasks, d_phi), and each task's mean acceptance rate (tasks,).
    """
    # A point estimate is repeated for each draw of phi, but has a single mode.
    mode = find_mode(conditional, theta[:1] if is_point else theta)
    root = mode.precision.root()
    shape = (len(theta), *mode.phi.shape[1:])

    def place(z: Tensor) -> Tensor:
        return mode.phi + root.times(z)

    def slope(z: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = conditional.at(conditional.slope, theta, place(z))
        return value, root.transposed_times(gradient)

    def momenta() -> Tensor:
        return normal(shape, theta.dtype, generator)

    z, accepted = momenta(), torch.zeros(shape[:2], dtype=theta.dtype)
    here = _Point(z, *slope(z))
    for _ in range(transitions):
        start = momenta()
        there, momentum = _leapfrog(here, start, slope, leapfrogs, step_size)
        kinetic = 0.5 * (start.square().sum(-1) - momentum.square().sum(-1))
        gain = there.value - here.value + kinetic
        rate = torch.nan_to_num(gain, nan=-torch.inf).clamp(max=0).exp()
        take = uniform(rate.shape, rate.dtype, generator) < rate
        here = _Point(
            torch.where(take[..., None], there.z, here.z),
            torch.where(take, there.value, here.value),
            torch.where(take[..., None], there.slope, here.slope),
        )
        accepted += rate / transitions
    return place(here.z), accepted.mean(0)


def _leapfrog(
    at: _Point, momentum: Tensor, slope: Slope, steps: int, step_size: float
) -> tuple[_Point, Tensor]:
    """Where a trajectory ends, and with which momentum."""
    for _ in range(steps):
        momentum = momentum + 0.5 * step_size * at.slope
        z = at.z + step_size * momentum
        at = _Point(z, *slope(z))
        momentum = momentum + 0.5 * step_size * at.slope
    return at, momentum
