"""log p(phi_i, D_i | theta) with its gradient and curvature in phi_i, all tasks at once."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density
from bayesmeta.task_level.positive_definite import DensePrecision, Precision


class Expansion(NamedTuple):
    """To second order: value (tasks,), gradient (tasks, d_phi), and minus the second derivative.

    All are differentiable in theta.
    """

    value: Tensor
    gradient: Tensor
    precision: Precision


def parts_of(tasks: Tasks, *, with_query: bool) -> list[Tasks]:
    """The support alone, or support and query where there is one."""
    return [tasks, tasks.query] if with_query and tasks.query is not None else [tasks]


def log_density(
    density: Density, theta: Tensor, phi: Tensor, parts: Sequence[Tasks], *, jacobian: bool
) -> Tensor:
    """log p(phi_i | theta) + sum over parts of log p(part_i | phi_i, theta), (tasks,)."""
    levels = [density.terms(theta, phi, part, jacobian=jacobian) for part in parts]
    return levels[0].phi + torch.stack([level.data for level in levels]).sum(0)


def slope(
    density: Density, theta: Tensor, phi: Tensor, parts: Sequence[Tasks], *, jacobian: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`log_density` at phi, its gradient in phi, and phi as what both are differentiable in."""
    with torch.enable_grad():
        at = phi if phi.requires_grad else phi.detach().requires_grad_()
        value = log_density(density, theta, at, parts, jacobian=jacobian)
        (gradient,) = torch.autograd.grad(value.sum(), at, create_graph=True)
    return value, gradient, at


def bend(
    density: Density,
    theta: Tensor,
    phi: Tensor,
    parts: Sequence[Tasks],
    vector: Tensor,
    *,
    jacobian: bool,
) -> Tensor:
    """Minus the Hessian of `log_density` in phi times a vector, (tasks, d_phi); detached."""
    _, gradient, at = slope(density, theta, phi.detach(), parts, jacobian=jacobian)
    # Given `grad_outputs`, torch imports its symbolic shapes, for .6 s.
    with torch.enable_grad():
        along = (gradient * vector).sum()
    return -torch.autograd.grad(along, at, materialize_grads=True)[0]


def diagonal(gradient: Tensor, phi: Tensor, signs: Tensor | None = None) -> Tensor:
    """Minus the diagonal of a Hessian that has nothing else, by one product with it.

    Args:
        gradient: as a function of phi, (tasks, d_phi).
        phi: where it was taken.
        signs: of the vector that is multiplied, (tasks, d_phi); None takes ones. A Hessian that
            has more than its diagonal gives another result for other signs.
    """
    if not gradient.requires_grad:
        return torch.zeros_like(phi)
    if signs is None:
        return -torch.autograd.grad(gradient.sum(), phi, create_graph=True, materialize_grads=True)[
            0
        ]
    (product,) = torch.autograd.grad(
        gradient, phi, grad_outputs=signs, create_graph=True, materialize_grads=True
    )
    return -product * signs


def newton_step(gradient: Tensor, phi: Tensor) -> Tensor:
    """Newton's step for a diagonal Hessian, (tasks, d_phi); 0 where the gradient is constant."""
    bends = diagonal(gradient, phi)
    seen = is_seen(bends)
    return torch.where(seen, gradient / torch.where(seen, bends, 1.0), 0.0)


def is_seen(bends: Tensor) -> Tensor:
    """Of which coordinates data say anything, by their curvatures (tasks, d_phi), but rounding."""
    return bends > 64 * torch.finfo(bends.dtype).eps * bends.amax(-1, keepdim=True)


def warn_of_unseen(density: Density, tasks: Tasks, bends: Tensor) -> None:
    """Name the phi, by curvatures of the data (tasks, d_phi), of which a task's data say nothing.

    Of a site with several axes, such as classes and numbers of each, by its first. Tasks without
    data have their prior, as they should.
    """
    unseen, found = ~is_seen(bends) & (tasks.sizes > 0)[:, None], list[str]()
    for i in unseen.any(1).nonzero()[:, 0].tolist():
        for name, segment in density.segments.items():
            if not segment.is_phi or not unseen[i, segment.start : segment.stop].any():
                continue
            rows = unseen[i, segment.start : segment.stop].reshape(*segment.shape).squeeze()
            each = rows.flatten(1).any(1) if rows.dim() > 1 else rows
            which = each.nonzero()[:, 0].tolist() if rows.dim() else None
            found += [f"'{name}{which or ''}' of task '{tasks.names[i]}'"]
    if found:
        warnings.warn(
            f"in {int(unseen.any(1).sum())} of {len(tasks)} tasks the data say nothing of some of "
            f"phi: {first_few(found)}; it stays at its prior's mean, as that of a class without "
            "examples, and predictions use it there: give each class an example, or a model of the "
            "classes that are there",
            stacklevel=2,
        )


@dataclass(frozen=True)
class Curvature(ABC):
    """What stands for minus the second derivative of log p(phi_i, D_i | theta) in phi_i.

    Attributes:
        is_exact: whether it is that derivative itself.
    """

    is_exact: ClassVar[bool] = True

    def check(self, density: Density, tasks: Tasks) -> None:  # noqa: B027
        """Refuse a model that it cannot treat.

        Raises:
            StructureError: naming what does not fit, and what to use instead.
        """

    def steps_in(self, dtype: torch.dtype) -> int | None:
        """How many steps the search for a log evidence's mode takes; None: to convergence."""
        return None

    @abstractmethod
    def form(self, tensors: Sequence[Tensor]) -> Precision:
        """A precision of the kind that `expand` gives, out of its tensors."""

    @abstractmethod
    def precision(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        parts: Sequence[Tasks],
        gradient: Tensor,
        *,
        jacobian: bool,
    ) -> Precision:
        """The curvature at phi, given the gradient there as a function of phi."""

    def expand(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        parts: Sequence[Tasks],
        *,
        jacobian: bool,
    ) -> Expansion:
        """`log_density` at phi, with its gradient and curvature.

        Args:
            density: the model's density.
            theta: unconstrained, of shape (d_theta,).
            phi: unconstrained, of shape (tasks, d_phi); where it depends on theta, so do the
                results.
            parts: data of the same tasks: the support, or support and query.
            jacobian: whether it is a density of unconstrained phi.
        """
        value, gradient, at = slope(density, theta, phi, parts, jacobian=jacobian)
        with torch.enable_grad():
            found = self.precision(density, theta, at, parts, gradient, jacobian=jacobian)
        return Expansion(value, gradient, found)


@dataclass(frozen=True)
class Hessian(Curvature):
    """The second derivative itself, as a matrix (tasks, d_phi, d_phi): for phi of some tens.

    Tasks are independent given theta, so one backward pass a coordinate serves them all.
    """

    def form(self, tensors: Sequence[Tensor]) -> Precision:
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
    ) -> Precision:
        """The gradient's own derivatives, row by row."""
        rows = [
            torch.autograd.grad(
                gradient[:, k].sum(), phi, create_graph=True, materialize_grads=True
            )[0]
            for k in range(phi.shape[1])
        ]
        return DensePrecision(-torch.stack(rows, dim=1) if rows else phi.new_zeros(*phi.shape, 0))
