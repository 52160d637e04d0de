"""Mode: phi is where log p(phi_i, D_i | theta) is highest, as in iMAML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import score
from bayesmeta.phi.base import Phi
from bayesmeta.task_level.ascent import modes
from bayesmeta.task_level.curvature import Curvature
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.task_level.implicit_mode import solver_of


@dataclass(frozen=True)
class Mode(Phi):
    """A point estimate of phi_i by maximum a posteriori, found by Newton's method or its kin.

        phi_i = argmax log p(phi | theta) + log p(D_i | phi, theta)

    The log evidence is the query's log likelihood there or, without a query, the support's own.
    Its gradient is that of the implicit function theorem (Rajeswaran et al. 2019), so that memory
    does not grow with the steps. Without a query the spread of phi comes out too wide, and what
    theta says of it is not to be trusted: give one, or take Laplace(). A network with kinks
    (rectified units) may have its mode on one: the search then ends near it, and that gradient is
    approximate.

    Attributes:
        curvature: of log p(D_i, phi | theta), by which the search goes; None takes the Hessian for
            phi of up to 64 numbers, and for networks the Gauss-Newton matrix. A smooth mode, and in
            float64 its gradient in theta, do not depend on it; in float32 Gauss-Newton trains by a
            few steps towards the mode (bm.GaussNewton).
    """

    curvature: Curvature | None = None

    is_smooth: ClassVar[bool] = True

    @property
    def averages(self) -> bool:
        """It does not: phi is a point."""
        return False

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse what the curvature cannot treat."""
        choose(self.curvature, density, tasks).check(density, tasks)

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """log p(query_i | phi_i, theta), or log p(D_i | phi_i, theta), at the mode; (tasks,)."""
        curvature = choose(self.curvature, density, tasks)
        phi = solver_of(density, tasks, curvature, jacobian=False, with_query=False)(theta, tasks)
        if tasks.query is None:
            return density.log_likelihood(theta, phi, tasks)
        return score(density, theta, phi, tasks.query)

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
        """The mode at each draw of theta."""
        curvature = choose(self.curvature, density, tasks)
        found = modes(density, theta, tasks, curvature, jacobian=False)
        return torch.cat([mode.phi for _, _, mode in found], dim=1)
