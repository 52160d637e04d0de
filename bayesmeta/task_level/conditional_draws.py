"""Draws of p(phi_i | theta, D_i) by preconditioned Hamiltonian Monte Carlo."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.engine.noise import normal, uniform
from bayesmeta.task_level.ascent import find_mode
from bayesmeta.task_level.conditional import Conditional


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
    value, gradient = slope(z)
    for _ in range(transitions):
        start = momenta()
        momentum, position, new, force = start, z, value, gradient
        for _ in range(leapfrogs):
            momentum = momentum + 0.5 * step_size * force
            position = position + step_size * momentum
            new, force = slope(position)
            momentum = momentum + 0.5 * step_size * force
        gain = new - value + 0.5 * (start.square().sum(-1) - momentum.square().sum(-1))
        rate = torch.nan_to_num(gain, nan=-torch.inf).clamp(max=0).exp()
        take = uniform(rate.shape, rate.dtype, generator) < rate
        z = torch.where(take[..., None], position, z)
        value = torch.where(take, new, value)
        gradient = torch.where(take[..., None], force, gradient)
        accepted += rate / transitions
    return place(z), accepted.mean(0)
