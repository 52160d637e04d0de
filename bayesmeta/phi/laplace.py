"""Laplace: phi integrated out by the Gaussian that fits its density at the mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.conditional import Conditional, find_mode
from bayesmeta.curvature import expand
from bayesmeta.density import Density
from bayesmeta.elimination import solve
from bayesmeta.mode import solver_of
from bayesmeta.phi.base import Phi
from bayesmeta.tasks import Tasks


@dataclass(frozen=True)
class Laplace(Phi):
    """p(phi_i | D_i, theta) as a Gaussian at its mode, and the evidence that goes with it:

        log p(D_i | theta) = f(mode) + (d log 2 pi - log det A) / 2,   f = log p(D_i, phi | theta)

    with A = -f'' at the mode, on the unconstrained scale (Tierney & Kadane 1986; LLAMA: Grant et
    al. 2018; with theta=NUTS() nested Laplace: Rue, Martino & Chopin 2009). Exact for linear-
    Gaussian models; elsewhere biased where tasks have few data. With a query the log evidence is
    log p(D_i, query_i | theta) - log p(D_i | theta). The Hessian is dense: for phi of up to some
    hundreds of numbers.

    Attributes:
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
    """

    draws: int = 1000

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"Laplace got draws={self.draws}; at least one draw of phi is needed")

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`: phi is a distribution, even at a single theta."""
        return self.draws

    def log_evidence(
        self, density: Density, theta: Tensor, tasks: Tasks, state: Sequence[Tensor] = ()
    ) -> Tensor:
        """The Laplace approximation of log p(D_i | theta), or of the query given the support."""
        support = _log_evidence(density, theta, tasks, with_query=False)
        if tasks.query is None:
            return support
        return _log_evidence(density, theta, tasks, with_query=True) - support

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
        """A draw of the Gaussian at the mode, for each draw of theta."""
        mode = find_mode(Conditional(density, tasks, jacobian=True), theta)
        noise = torch.randn(mode.phi.shape, dtype=theta.dtype, generator=generator)
        return mode.phi + (mode.scale @ noise[..., None])[..., 0]


def _log_evidence(density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool) -> Tensor:
    phi = solver_of(density, tasks, jacobian=True, with_query=with_query)(theta, tasks)
    parts = [tasks, tasks.query] if with_query and tasks.query is not None else [tasks]
    found = expand(density, theta, phi, parts, jacobian=True)
    _, log_det = solve(found.precision, found.gradient)
    return found.value + 0.5 * (density.d_phi * math.log(2 * math.pi) - log_det)
