"""Exact: phi integrated out in closed form, where phi_i and its data are linear-Gaussian."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.capture import capture, over_draws
from bayesmeta.checks import StructureError
from bayesmeta.curvature import expand
from bayesmeta.density import Density
from bayesmeta.elimination import solve
from bayesmeta.phi.base import Phi
from bayesmeta.problem import isolated
from bayesmeta.tasks import Tasks

_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Exact(Phi):
    """p(D_i | theta) and p(phi_i | D_i, theta) in closed form, where the latter is Gaussian.

    With f(phi) = log p(D_i, phi | theta), gradient g and precision A = -f'' at any phi,

        mean = phi + A^{-1} g,   log p(D_i | theta) = f(mean) + (d log 2 pi - log det A) / 2

    exactly when A does not depend on phi, which is how a model is recognised: nothing is read off
    its text. Hierarchical linear regression, ALPaCA (Harrison, Sharma & Pavone 2018) and ridge
    heads as R2-D2 (Bertinetto et al. 2019) are such models. With a query the log evidence is that
    of the query given the support, log p(query_i | D_i, theta).

    Attributes:
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
    """

    draws: int = 1000

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ValueError(f"Exact got draws={self.draws}; at least one draw of phi is needed")

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`: phi is a distribution, even at a single theta."""
        return self.draws

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse a model whose phi given theta and data is not Gaussian.

        Raises:
            StructureError: naming the task at which the curvature of log p(D_i, phi_i | theta)
                changes with phi_i.
        """
        tasks = tasks.to(dtype=torch.float64)
        for given in (tasks, *([] if tasks.query is None else [tasks.query])):
            with isolated(seed=0):
                (theta, one), (_, other) = density.draw_prior(given), density.draw_prior(given)
            first = expand(density, theta, one, [given], jacobian=True).precision
            second = expand(density, theta, other, [given], jacobian=True).precision
            change = (first - second).abs().amax((-1, -2)) / first.abs().amax((-1, -2))
            if not (change < _TOLERANCE).all():
                worst = int(change.nan_to_num(torch.inf).argmax())
                raise StructureError(
                    f"phi=bm.Exact() needs phi to be Gaussian given theta and the data, but the "
                    f"curvature of log p(D_i, phi_i | theta) changes by {change[worst]:.1%} from "
                    f"one phi to another at task '{given.names[worst]}'; use phi=bm.Joint(), or "
                    "make the phi sites and the outcome normal, with a mean linear in phi"
                )

    def log_evidence(
        self, density: Density, theta: Tensor, tasks: Tasks, state: Sequence[Tensor] = ()
    ) -> Tensor:
        """log p(D_i | theta), or with a query log p(query_i | D_i, theta); (tasks,)."""
        support = _log_evidence(density, theta, [tasks])
        if tasks.query is None:
            return support
        return _log_evidence(density, theta, [tasks, tasks.query]) - support

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
        """A draw of p(phi_i | D_i, theta) for each draw of theta."""
        data = tasks.tensors()

        def posterior(point: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor]:
            given = tasks.with_tensors(tensors)
            phi = density.prior_mean(point, given)
            _, gradient, precision = expand(density, point, phi, [given], jacobian=True)
            return (phi + solve(precision, gradient)[0]).detach(), precision.detach()

        graph = capture(posterior, [theta[0], *data])
        mean, precision = over_draws(graph, [theta], data)
        noise = torch.randn(mean.shape, dtype=mean.dtype, generator=generator)
        factor = torch.linalg.cholesky(precision)
        away = torch.linalg.solve_triangular(factor.mT, noise[..., None], upper=True)
        return mean + away[..., 0]


def _log_evidence(density: Density, theta: Tensor, parts: list[Tasks]) -> Tensor:
    start = density.prior_mean(theta, parts[0]).detach()
    value, gradient, precision = expand(density, theta, start, parts, jacobian=True)
    step, log_det = solve(precision, gradient)
    half = 0.5 * (step * gradient).sum(-1)
    return value + half + 0.5 * (density.d_phi * math.log(2 * math.pi) - log_det)
