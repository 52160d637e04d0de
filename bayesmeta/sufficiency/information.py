"""What the data say of phi where means are linear in it: a sum that is known, over a variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.task_level.curvature import Curvature, Hessian, diagonal
from bayesmeta.task_level.positive_definite import DensePrecision

# A column of the data, beside those of the model.
INFORMATION = "sufficient information"


@dataclass(frozen=True)
class Information(Curvature):
    """The Hessian, without a backward pass through the data for each number of phi:

        A_i = -d^2 log p(phi_i | theta) / d phi^2 + J_i' G_i J_i / s_i^2,   J_i = d m_i[J] / d phi_i

    with J_i' G_i J_i at hand, of a `SufficientDensity`.

    Attributes:
        is_diagonal: whether the first part is, so that one product with it does.
    """

    is_diagonal: bool = False

    def form(self, tensors: Sequence[Tensor]) -> DensePrecision:
        """The matrix."""
        return DensePrecision(*tensors)

    def precision(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        parts: Sequence[Tasks],
        gradient: Tensor,
        *,
        jacobian: bool,
    ) -> DensePrecision:
        """That of the prior by differentiation, and the data's."""
        (few,) = parts
        (site,) = density.outcomes(theta, phi, few).values()
        scale = site.fn.scale.expand(few.mask.shape)[:, 0]
        prior = density.terms(theta, phi, few, jacobian=jacobian).phi
        (slope,) = torch.autograd.grad(prior.sum(), phi, create_graph=True)
        if self.is_diagonal:
            matrix = torch.diag_embed(diagonal(slope, phi))
        else:
            given = density, theta, phi, parts, slope
            (matrix,) = Hessian().precision(*given, jacobian=jacobian).tensors()
        return DensePrecision(matrix + few.x[INFORMATION] / scale.square()[:, None, None])


def linear_in_phi(
    density: Density, tasks: Tasks, one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]
) -> Tensor | None:
    """J (tasks, data, d_phi) where it is the same at both places of theta and phi."""
    first, second = (_slopes(density, *place, tasks) for place in (one, other))
    size = torch.maximum(first.abs(), second.abs()).amax((0, 1))
    return first if bool(((first - second).abs() <= 1e-10 * size).all()) else None


def has_prior(density: Density, tasks: Tasks, theta: Tensor, phi: Tensor) -> bool:
    """Whether there is phi, with a density that is not flat."""
    with torch.enable_grad():
        return density.terms(theta, phi.detach().requires_grad_(), tasks).phi.requires_grad


def has_diagonal_prior(density: Density, tasks: Tasks, theta: Tensor, phi: Tensor) -> bool:
    """Whether numbers of phi are independent given theta, by products with signs."""
    with torch.enable_grad():
        at = phi.detach().requires_grad_()
        prior = density.terms(theta, at, tasks).phi
        (slope,) = torch.autograd.grad(prior.sum(), at, create_graph=True)
        signs = torch.where(torch.rand_like(at) < 0.5, -1.0, 1.0).to(at)
        found, flipped = diagonal(slope, at), diagonal(slope, at, signs)
    return bool(((found - flipped).abs() <= 1e-9 * found.abs().amax()).all())


def _slopes(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    with torch.enable_grad():
        at = phi.detach().requires_grad_()
        (site,) = density.outcomes(theta, at, tasks).values()
        mean = site.fn.loc.expand(tasks.mask.shape)
        if not mean.requires_grad:
            return at.new_zeros(*tasks.mask.shape, at.shape[1])
        rows = [
            torch.autograd.grad(m.sum(), at, retain_graph=True, materialize_grads=True)[0]
            for m in mean.unbind(1)
        ]
    return torch.stack(rows, 1)
