"""log p(phi_i, D_i | theta) with its gradient and curvature in phi_i, all tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.density import Density
from bayesmeta.tasks import Tasks


class Expansion(NamedTuple):
    """To second order: value (tasks,), gradient (tasks, d_phi), precision (tasks, d_phi, d_phi).

    The precision is minus the Hessian. All are differentiable in theta.
    """

    value: Tensor
    gradient: Tensor
    precision: Tensor


def parts_of(tasks: Tasks, *, with_query: bool) -> list[Tasks]:
    """The support alone, or support and query where there is one."""
    return [tasks, tasks.query] if with_query and tasks.query is not None else [tasks]


def log_density(
    density: Density, theta: Tensor, phi: Tensor, parts: Sequence[Tasks], *, jacobian: bool
) -> Tensor:
    """log p(phi_i | theta) + sum over parts of log p(part_i | phi_i, theta), (tasks,)."""
    levels = [density.terms(theta, phi, part, jacobian=jacobian) for part in parts]
    return levels[0].phi + torch.stack([level.data for level in levels]).sum(0)


def expand(
    density: Density, theta: Tensor, phi: Tensor, parts: Sequence[Tasks], *, jacobian: bool
) -> Expansion:
    """`log_density` at phi, with its gradient and curvature.

    Tasks are independent given theta, so one backward pass a coordinate serves them all.

    Args:
        density: the model's density.
        theta: unconstrained, of shape (d_theta,).
        phi: unconstrained, of shape (tasks, d_phi); where it depends on theta, so do the results.
        parts: data of the same tasks: the support, or support and query.
        jacobian: whether it is a density of unconstrained phi.
    """
    with torch.enable_grad():
        at = phi if phi.requires_grad else phi.detach().requires_grad_()
        value = log_density(density, theta, at, parts, jacobian=jacobian)
        (gradient,) = torch.autograd.grad(value.sum(), at, create_graph=True)
        rows = [
            torch.autograd.grad(
                gradient[:, k].sum(), at, create_graph=True, materialize_grads=True
            )[0]
            for k in range(density.d_phi)
        ]
    precision = -torch.stack(rows, dim=1) if rows else phi.new_zeros(*phi.shape, 0)
    return Expansion(value, gradient, precision)
