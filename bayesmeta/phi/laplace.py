"""Laplace: phi integrated out by the Gaussian that fits its density at the mode."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from bayesmeta.density import Density
from bayesmeta.implicit import solver_of
from bayesmeta.phi.integrated import Integrated
from bayesmeta.tasks import Tasks


@dataclass(frozen=True)
class Laplace(Integrated):
    """Laplace's method: log p(D_i, phi | theta) expanded at its mode (Tierney & Kadane 1986).

    LLAMA with theta=Point() (Grant et al. 2018), nested Laplace with theta=NUTS() (Rue, Martino &
    Chopin 2009). Exact for linear-Gaussian models; elsewhere biased where tasks have few data. The
    Hessian is dense: for phi of up to some hundreds of numbers.
    """

    def point(self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool) -> Tensor:
        """The mode, found by Newton's method."""
        return solver_of(density, tasks, jacobian=True, with_query=with_query)(theta, tasks)
