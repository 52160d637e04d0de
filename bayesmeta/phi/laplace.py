"""Laplace: phi integrated out by the Gaussian that fits its density at the mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bayesmeta.curvature import log_density, parts_of
from bayesmeta.density import Density
from bayesmeta.gauss_newton import choose
from bayesmeta.implicit import solver_of
from bayesmeta.phi.integrated import Integrated
from bayesmeta.tasks import Tasks


@dataclass(frozen=True)
class Laplace(Integrated):
    """Laplace's method: log p(D_i, phi | theta) expanded at its mode (Tierney & Kadane 1986).

    LLAMA with theta=Point() (Grant et al. 2018), nested Laplace with theta=NUTS() (Rue, Martino &
    Chopin 2009). Exact for linear-Gaussian models; elsewhere biased where tasks have few data. For
    networks the curvature is the Gauss-Newton matrix (MacKay 1992; Ritter, Botev & Barber 2018, who
    take a Kronecker form instead of this one of low rank). Each gradient of theta needs
    the modes of all tasks, so that under NUTS an effective draw took six times as long as with
    Joint() on a hierarchical logistic regression, and more where nothing is compiled.

    With particles the bias is corrected by importance weights over phi:

        log p(D_i | theta) = log mean_k p(D_i, phi_k | theta) / q(phi_k),   q = N(mode, A^{-1})

    for phi_k = mode + A^{-1/2} e_k with noise e_k, of the task's own, that stays what it is while
    theta moves, so that the estimate is a smooth function of theta.

    Attributes:
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
        particles: how many phi_k, in pairs of e and -e; 0 leaves Laplace's method as it is.
    """

    particles: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.particles < 0 or self.particles % 2:
            raise ValueError(
                f"Laplace got particles={self.particles}; they come in pairs: give 0 or an even "
                "number"
            )

    def point(self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool) -> Tensor:
        """The mode, found by Newton's method."""
        curvature = choose(self.curvature, density, tasks)
        solver = solver_of(density, tasks, curvature, jacobian=True, with_query=with_query)
        return solver(theta, tasks)

    def evidence(
        self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool
    ) -> Tensor:
        """log p(D_i | theta), with or without importance weights, (tasks,)."""
        if not self.particles:
            return super().evidence(density, theta, tasks, with_query=with_query)
        mode = self.point(density, theta, tasks, with_query=with_query)
        parts = parts_of(tasks, with_query=with_query)
        curvature = choose(self.curvature, density, tasks)
        precision = curvature.expand(density, theta, mode, parts, jacobian=True).precision
        _, log_det = precision.solve(mode)
        # By numpy: what torch draws would be drawn anew whenever a captured graph runs.
        half = np.random.default_rng(0).standard_normal((self.particles // 2, *mode.shape))
        noise = torch.from_numpy(np.concatenate([half, -half])).to(mode)
        # Each particle of a task is a task of its own, so that one density serves them all.
        again = torch.arange(len(mode)).repeat(self.particles)
        phi = (mode + precision.whiten(noise)).flatten(0, 1)
        copies = [part.select(again) for part in parts]
        values = log_density(density, theta, phi, copies, jacobian=True).reshape(noise.shape[:2])
        mean = (values + 0.5 * noise.square().sum(-1)).logsumexp(0) - math.log(self.particles)
        return mean + 0.5 * (density.d_phi * math.log(2 * math.pi) - log_det)
