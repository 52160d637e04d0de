"""ReptileSteps: theta is drawn towards where gradient steps take phi, as in Reptile."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean
from bayesmeta.phi.base import Phi, check_steps
from bayesmeta.phi.gradient_steps import GradientSteps
from bayesmeta.task_level.curvature import parts_of


@dataclass(frozen=True)
class ReptileSteps(Phi):
    """The point of `GradientSteps`, with an outer objective that needs no second derivatives:

        log evidence_i = -|phi_i^steps - phi_i^0|^2 / 2,   phi_i^steps held fixed

    so that its gradient in phi_i^0 is phi_i^steps - phi_i^0, Reptile's update (Nichol, Achiam &
    Schulman 2018). That is an update rule and no estimate of log p(D_i | theta): with a prior on
    theta or other objectives it does not combine as a density would. With a query the steps see
    support and query, as Reptile makes no difference between them.

    Attributes:
        steps: gradient steps.
        lr: their size, in unconstrained phi per unit of d log p / d phi.
    """

    steps: int = 5
    lr: float = 0.01

    def __post_init__(self) -> None:
        check_steps(self, self.steps, self.lr)

    @property
    def _steps(self) -> GradientSteps:
        return GradientSteps(self.steps, self.lr, first_order=True)

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """Minus half the squared way that the steps went, (tasks,); its value is no density."""
        parts = parts_of(tasks, with_query=True)
        reached = self._steps.climb(density, theta.detach(), parts).detach()
        return -0.5 * (reached - prior_mean(density, theta, tasks)).square().sum(-1)

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
        """The point that the steps reach from each draw of theta on the support."""
        return self._steps.infer(density, theta, tasks, generator, is_point=is_point)
