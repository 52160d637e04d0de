"""Integrated: phi is a Gaussian given theta and the data, and is integrated out by its evidence."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.sufficiency import SufficientDensity, agree, sufficient
from bayesmeta.task_level.ascent import Modes, modes
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.curvature import Curvature, parts_of
from bayesmeta.task_level.gauss_newton import MOST_DENSE, choose


@dataclass(frozen=True)
class Integrated(Phi):
    """log p(D_i, phi | theta) = f(phi), integrated as if it were its second-order expansion:

        log p(D_i | theta) = f(mode) + (d log 2 pi - log det A) / 2,   A = -f''
        p(phi_i | D_i, theta) = N(mode, A^{-1})

    on the unconstrained scale, with f(mode) = f(phi) + g' A^{-1} g / 2 for gradient g at the point
    phi of the expansion. With a query the log evidence is that of the query given the support,
    log p(D_i, query_i | theta) - log p(D_i | theta).

    Attributes:
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
        curvature: A; None takes the Hessian for phi of up to 64 numbers, and for networks the
            Gauss-Newton matrix.
        is_at_mode: whether `point` is the mode, or as near as its search came: what a last step of
            Gauss-Newton would promise there is then left out, as at kinks it does not keep it.
    """

    draws: int = 1000
    curvature: Curvature | None = None

    most_dense: ClassVar[int] = MOST_DENSE
    is_smooth: ClassVar[bool] = True
    is_at_mode: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_wholes(self, "draws")

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`: phi is a distribution, even at a single theta."""
        return self.draws

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse what the curvature cannot treat."""
        self.chosen(density, tasks).check(density, tasks)

    def chosen(self, density: Density, tasks: Tasks) -> Curvature:
        """The curvature given, or the one that suits the model."""
        return choose(self.curvature, density, tasks, self.most_dense)

    def shortened(self, density: Density, tasks: Tasks) -> tuple[Density, Phi, Tasks] | None:
        """The same strategy, with the Hessian of few datapoints, which is that of all."""
        found = sufficient(density, tasks) if self.curvature is None else None
        if found is None:
            return None
        return found.density, replace(self, curvature=found.curvature), found.tasks

    @abstractmethod
    def point(self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool) -> Tensor:
        """phi (tasks, d_phi) at which log p(D_i, phi | theta) is expanded; differentiable."""

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """log p(D_i | theta), or with a query log p(query_i | D_i, theta); (tasks,)."""
        support = self.evidence(density, theta, tasks, with_query=False)
        if tasks.query is None:
            return support
        return self.evidence(density, theta, tasks, with_query=True) - support

    def evidence(
        self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool
    ) -> Tensor:
        """log p(D_i | theta) by the expansion, D_i with or without the query, (tasks,)."""
        at = self.point(density, theta, tasks, with_query=with_query)
        parts = parts_of(tasks, with_query=with_query)
        curvature = self.chosen(density, tasks)
        value, gradient, precision = curvature.expand(density, theta, at, parts, jacobian=True)
        step, log_det = precision.solve(gradient)
        if not self.is_at_mode:
            value = value + 0.5 * (step * gradient).sum(-1)
        return value + 0.5 * (at.shape[1] * math.log(2 * math.pi) - log_det)

    def infer(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        generator: torch.Generator,
        *,
        is_point: bool,
        state: Sequence[Tensor] = (),
    ) -> Tensor:
        """A draw of N(mode, A^{-1}) for each draw of theta."""
        noise, short = TaskNoise(generator, tasks), self.shortened(density, tasks)
        if short is not None:
            less, by, few = short
            assert isinstance(less, SufficientDensity) and isinstance(by, Integrated)
            phi = by._drawn(less, theta, few, noise, is_point=is_point)
            ends = [(theta[k], phi[k]) for k in (0, -1)]
            with torch.no_grad():
                if agree(density, tasks, less, few, ends):
                    return phi
        return self._drawn(density, theta, tasks, noise, is_point=is_point)

    def _drawn(
        self, density: Density, theta: Tensor, tasks: Tasks, noise: TaskNoise, *, is_point: bool
    ) -> Tensor:
        curvature = self.chosen(density, tasks)
        # A point estimate is repeated for each draw of phi, but has a single mode.
        points, found = theta[:1] if is_point else theta, []
        for part, conditional, mode in modes(density, points, tasks, curvature, jacobian=True):
            mine = noise.select(part)
            found.append(self.drawn(conditional, theta, mode, mine, is_point=is_point))
        return torch.cat(found, dim=1)

    def drawn(
        self,
        conditional: Conditional,
        theta: Tensor,
        mode: Modes,
        noise: TaskNoise,
        *,
        is_point: bool,
    ) -> Tensor:
        """Draws of phi around its modes, (draws, tasks, d_phi)."""
        z = noise.normal((len(theta), *mode.phi.shape[1:]), theta.dtype)
        # In place: of networks these are the largest tensors there are.
        return mode.precision.root().times(z).add_(mode.phi)
