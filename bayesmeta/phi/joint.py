"""Joint: leave phi to the theta strategy, as one vector with theta."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.phi.hmc import HMC
from bayesmeta.sufficiency import sufficient
from bayesmeta.task_level.ascent import find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.gauss_newton import choose


@dataclass(frozen=True)
class Joint(Phi):
    """Do not integrate phi out: infer p(theta, phi_1..phi_I | D) as one density.

    For tasks never seen, phi_new is drawn from p(phi_new | theta, D_new) for each draw of theta, so
    that draws of (theta, phi_new) are draws of p(theta | D) p(phi_new | theta, D_new). After a
    point estimate of theta it is the maximum of p(phi_new | theta, D_new).
    """

    is_joint: ClassVar[bool] = True
    has_evidence: ClassVar[bool] = False
    is_smooth: ClassVar[bool] = True

    def shortened(self, density: Density, tasks: Tasks) -> tuple[Density, Phi, Tasks] | None:
        """The same strategy on few datapoints."""
        found = sufficient(density, tasks)
        return None if found is None else (found.density, self, found.tasks)

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
        """phi given each draw of theta: drawn, or its maximum after a point estimate."""
        if density.width(tasks) == 0:
            return theta.new_empty(len(theta), tasks.num_tasks, 0)
        if not is_point:
            return HMC().infer(density, theta, tasks, generator, is_point=False)
        curvature = choose(None, density, tasks)
        conditional = Conditional(density, tasks, jacobian=False, curvature=curvature)
        return find_mode(conditional, theta).phi
