"""Joint: leave phi to the theta strategy, as one vector with theta."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.ascent import find_mode
from bayesmeta.conditional import Conditional
from bayesmeta.conditional_draws import draw_phi
from bayesmeta.density import Density
from bayesmeta.gauss_newton import choose
from bayesmeta.phi.base import Phi
from bayesmeta.tasks import Tasks

_LOW_ACCEPTANCE = 0.5


@dataclass(frozen=True)
class Joint(Phi):
    """Do not integrate phi out: infer p(theta, phi_1..phi_I | D) as one density.

    For tasks never seen, phi_new is drawn from p(phi_new | theta, D_new) for each draw of theta, so
    that draws of (theta, phi_new) are draws of p(theta | D) p(phi_new | theta, D_new). After a
    point estimate of theta it is the maximum of p(phi_new | theta, D_new).
    """

    is_joint: ClassVar[bool] = True

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """Not defined: Joint does not integrate phi out.

        Raises:
            TypeError: always.
        """
        raise TypeError("Joint leaves phi to the theta strategy and has no log evidence of its own")

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
        if density.d_phi == 0:
            return theta.new_empty(len(theta), tasks.num_tasks, 0)
        curvature = choose(None, density, tasks)
        conditional = Conditional(density, tasks, jacobian=not is_point, curvature=curvature)
        if is_point:
            return find_mode(conditional, theta).phi
        phi, acceptance = draw_phi(conditional, theta, generator)
        worst = int(acceptance.argmin())
        if acceptance[worst] < _LOW_ACCEPTANCE:
            warnings.warn(
                f"adapting to task '{tasks.names[worst]}' accepted {acceptance[worst]:.0%} of its "
                "steps, so its draws of phi may stay near the Laplace approximation; fit it "
                "together with the other tasks to check",
                stacklevel=2,
            )
        return phi
