"""Laplace: phi integrated out by the Gaussian that fits its density at the mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.hills import Mixed, by_states, check_rows, hills_of, mixed
from bayesmeta.model.density import Density
from bayesmeta.phi.integrated import Integrated
from bayesmeta.task_level.ascent import Modes, modes
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.corrected_draws import corrected, steepened
from bayesmeta.task_level.curvature import log_density, parts_of
from bayesmeta.task_level.implicit_mode import solver_of
from bayesmeta.task_level.normal_nodes import normal_nodes


@dataclass(frozen=True)
class Laplace(Integrated):
    """Laplace's method: log p(D_i, phi | theta) expanded at its mode (Tierney & Kadane 1986).

    LLAMA with theta=Point() (Grant et al. 2018), nested Laplace with theta=NUTS() (Rue, Martino &
    Chopin 2009). Exact for linear-Gaussian models; elsewhere biased where tasks have few data. For
    networks the curvature is the Gauss-Newton matrix (MacKay 1992; Ritter, Botev & Barber 2018, who
    take a Kronecker form instead of this one of low rank). Each gradient of theta needs the modes
    of all tasks, so that under NUTS an effective draw took six times as long as with Joint() on a
    hierarchical logistic regression, and more where nothing is compiled.

    With particles the bias is corrected by importance weights over phi:

        log p(D_i | theta) = log sum_k w_k p(D_i, phi_k | theta) / q(phi_k),   q = N(mode, A^{-1})

    for phi_k = mode + A^{-1/2} x_k. Nodes x_k and weights w_k for N(0, I) are each task's own
    (`normal_nodes`) and stay what they are while theta moves, so that the estimate is a smooth
    function of theta; it is exact wherever Laplace's method is. Sixteen particles took the bias of
    a logistic regression's scales from 0.7 posterior standard deviations to about 0.1.

    A task's discrete latents are summed out around it: each of their joint values has a mode, a
    curvature and an evidence of its own, whose sum is log p(D_i | theta), and draws of phi are from
    all. Phi of kinds far apart, or u of phi = low + gap kind + tau u, has a hill for each, of
    which one expansion would see one.

    Draws of phi are N(mode, A^{-1}) where the density is normal, and are corrected by importance
    weights elsewhere (`task_level/corrected_draws`; networks are left as they are): `diagnose` has
    the weights' Pareto k.

    Attributes:
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
        particles: how many phi_k, in pairs of x and -x; 0 leaves Laplace's method as it is.
    """

    particles: int = 0

    is_at_mode: ClassVar[bool] = True
    remedy: ClassVar[str] = (
        "infer phi with bm.HMC(), as by post.adapt(tasks, phi=bm.HMC()), or sample it with "
        "theta=bm.NUTS(), phi=bm.Joint()"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_wholes(self, "particles", least=0)
        if self.particles % 2:
            raise ValueError(
                f"Laplace got particles={self.particles}; they come in pairs: give 0 or an even "
                "number"
            )

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse what the curvature cannot treat, and models that do not run on several values."""
        super().check(density, tasks)
        check_rows(density, tasks)

    def searched(self, density: Density, tasks: Tasks) -> tuple[Density, Tasks]:
        """Each task once for each joint value of its discrete latents, where it has any."""
        return by_states(density, tasks) or (density, tasks)

    def point(self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool) -> Tensor:
        """The mode."""
        curvature = self.chosen(density, tasks)
        solver = solver_of(density, tasks, curvature, jacobian=True, with_query=with_query)
        return solver(theta, tasks)

    def _drawn(
        self, density: Density, theta: Tensor, tasks: Tasks, noise: TaskNoise, *, is_point: bool
    ) -> Tensor:
        found = self._of_states(density, theta, tasks, noise, is_point=is_point)
        if found is None:
            return super()._drawn(density, theta, tasks, noise, is_point=is_point)
        return torch.cat([part.phi for part in found], 1)

    def _of_states(
        self, density: Density, theta: Tensor, tasks: Tasks, noise: TaskNoise, *, is_point: bool
    ) -> list[Mixed] | None:
        """Draws from the hills of all values of discrete latents, some tasks after others."""
        given, rows = self.searched(density, tasks)
        if given is density:
            return None
        points, found = theta[:1] if is_point else theta, []
        for part in tasks.chunks(density.d_phi * (len(rows) // len(tasks))):
            some, mine = tasks.select(part), noise.select(part)
            hills = hills_of(density, points, some, self.chosen(given, rows), mine)
            assert hills is not None
            found.append(mixed(hills, theta, mine, is_point=is_point))
        return found

    def drawn(
        self,
        conditional: Conditional,
        theta: Tensor,
        mode: Modes,
        noise: TaskNoise,
        *,
        is_point: bool,
    ) -> Tensor:
        """Draws with importance weights, where the curvature is the Hessian."""
        if not conditional.curvature.is_exact:
            return super().drawn(conditional, theta, mode, noise, is_point=is_point)
        mode = steepened(conditional, theta[: len(mode.phi)], mode)
        found = corrected(conditional, theta, mode, noise, is_point=is_point)
        return mode.phi + mode.precision.root().times(found.x)

    def candidate_weights(
        self, density: Density, theta: Tensor, tasks: Tasks, state: Sequence[Tensor] = ()
    ) -> Tensor | None:
        """Of candidates as draws are picked from; None where the density is normal."""
        curvature = self.chosen(density, tasks)
        if not curvature.is_exact:
            return None
        is_point = bool((theta == theta[:1]).all())
        points, found = theta[:1] if is_point else theta, list[Tensor | None]()
        shapes, noise = [], TaskNoise(torch.Generator().manual_seed(0), tasks)
        parts = self._of_states(density, theta, tasks, noise, is_point=is_point)
        if parts is not None:
            return _joined([x.log_weights for x in parts], [x.phi.shape[:2] for x in parts])
        for part, conditional, mode in modes(density, points, tasks, curvature, jacobian=True):
            mode = steepened(conditional, points, mode)
            mine = noise.select(part)
            found.append(corrected(conditional, theta, mode, mine, is_point=is_point).log_weights)
            shapes.append((len(theta), len(part)))
        return _joined(found, shapes)

    def evidence(
        self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool
    ) -> Tensor:
        """log p(D_i | theta), with or without importance weights, (tasks,)."""
        _warn_of_edges(density)
        given, rows = self.searched(density, tasks)
        found = self._of_rows(given, theta, rows, with_query=with_query)
        return found if given is density else found.unflatten(0, (-1, len(tasks))).logsumexp(0)

    def _of_rows(
        self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool
    ) -> Tensor:
        """The same of densities with one hill a row."""
        if not self.particles:
            return super().evidence(density, theta, tasks, with_query=with_query)
        mode = self.point(density, theta, tasks, with_query=with_query)
        parts = parts_of(tasks, with_query=with_query)
        curvature = self.chosen(density, tasks)
        precision = curvature.expand(density, theta, mode, parts, jacobian=True).precision
        _, log_det = precision.solve(mode)
        # From numpy: what torch computes would be computed anew whenever a captured graph runs.
        found = normal_nodes(self.particles, *mode.shape)
        nodes, log_weights = (torch.from_numpy(x).to(mode) for x in found)

        def ratio(node: Tensor) -> Tensor:
            phi = mode + precision.whiten(node)
            # As far as phi moved: where A^{-1/2} x is lost to rounding, so is its |x|^2.
            size = precision.quadratic(phi - mode)
            return log_density(density, theta, phi, parts, jacobian=True) + 0.5 * size

        mean = (torch.func.vmap(ratio)(nodes) + log_weights).logsumexp(0)
        return mean + 0.5 * (mode.shape[1] * math.log(2 * math.pi) - log_det)


def _joined(weights: Sequence[Tensor | None], shapes: Sequence[tuple[int, ...]]) -> Tensor | None:
    """Those of chunks of tasks, of shapes (draws, tasks); None where all are alike."""
    joined = torch.cat(
        [
            torch.zeros(shape) if one is None else one[: shape[0]]
            for one, shape in zip(weights, shapes, strict=True)
        ],
        1,
    )
    return joined if joined.any() else None


def _warn_of_edges(density: Density) -> None:
    """Say that a mode may be on an edge of a support, where no Gaussian fits the density."""
    for site, names in density.reading.bounded.items():
        by_task = [n for n in names if n not in density.structure.theta]
        if by_task:
            warnings.warn(
                f"the support of site '{site}' has an edge at '{', '.join(by_task)}': where a "
                "task's mode is on it, log p(D_i | theta) by phi=bm.Laplace() is wrong, and theta "
                "with it; sample both with theta=bm.NUTS(), phi=bm.Joint()",
                stacklevel=2,
            )
