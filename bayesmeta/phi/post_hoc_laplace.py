"""PostHocLaplace: a normal around what another strategy found, over some layers or all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, cast

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_number, check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.fine_tuning.held_out import hold_out, warn_of_none_held_out
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import pointwise
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.nets.phi_layers import Layers, read_layers
from bayesmeta.phi.base import Phi, tell
from bayesmeta.phi.fine_tune import FineTune
from bayesmeta.task_level.gauss_newton import GaussNewton
from bayesmeta.task_level.partial_density import PartialDensity
from bayesmeta.task_level.positive_definite import LowRankPrecision

# Of the prior's standard deviations, in multiples of the model's.
_SCALES = torch.logspace(-3, 3, 61, dtype=torch.float64)
# By held-out data every so manieth is tried, with so many draws.
_COARSE, _DRAWS = 5, 30


@dataclass(frozen=True)
class PostHocLaplace(Phi):
    """Uncertainty of what was fine-tuned: N(phi_i, A_i^{-1}) (Daxberger et al. 2021).

        A_i = D_i / scale^2 + sum_j J_ij' F_ij J_ij at the phi_i that `around` reaches

    with D_i the prior's precision and the data's Gauss-Newton matrix (see bm.GaussNewton), in the
    numbers of the chosen layers; the others stay where they are. Over the last layer alone
    (Kristiadi, Hein & Hennig 2020) predictions are those of a linear model on fixed features. Over
    all layers, draws of a network under a Gauss-Newton curvature can be much too wide where data
    are few (Immer, Korzepa & Bauer 2021), and over the last one too: where classes are certain the
    data's curvature vanishes, so that the normal is wider than the posterior. Compare `log_score`
    on held-out data, and choose `scale` by it, as `held_out` does (docs/transfer.md has figures).

    `around` runs anew, so that where it is random, by `fresh`, batches or held-out data, its phi_i
    is another one than that of an earlier fit.

    Attributes:
        around: the strategy that finds phi_i.
        layers: names of what is uncertain, as in FineTune; None is the last block.
        scale: of the prior's sd in A; None takes what makes the data most probable by Laplace's
            method, log p(D_i) = log p(D_i, phi_i) + d/2 log 2 pi - 1/2 log det A_i (MacKay 1992).
            Which that is of each task tells `posterior.phi_stats["scale"]`, (chain, draw, tasks).
        draws: of phi; for a posterior over theta, one at each draw of it.
        held_out: the share of each task's datapoints by which the scale is chosen instead, for
            the best log score on them of what is found without them; phi is then found with all.
            Of classes as in FineTune.
    """

    around: Phi = field(default_factory=FineTune)
    layers: Sequence[str] | None = None
    scale: float | None = None
    draws: int = 100
    held_out: float = 0.0

    has_evidence: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.around, Phi):
            raise TypeError(
                f"PostHocLaplace got around={self.around!r}; give a strategy, as bm.FineTune()"
            )
        if isinstance(self.layers, str):
            raise TypeError(f"PostHocLaplace got layers={self.layers!r}; give a sequence of names")
        check_wholes(self, "draws")
        if self.scale is not None:
            check_number(self, "scale", self.scale, above=0)
        check_number(self, "held_out", self.held_out, least=0, below=1)
        if self.held_out and self.scale is not None:
            raise ValueError(
                f"PostHocLaplace got scale={self.scale}, held_out={self.held_out}; leave one out, "
                "as held-out datapoints are there to choose the scale by"
            )

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`."""
        return self.draws

    def silent(self) -> PostHocLaplace:
        """The same without a progress bar."""
        return replace(self, around=self.around.silent())

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse outcomes and priors that Gauss-Newton does not know, and unknown layers."""
        self.around.check(density, tasks)
        GaussNewton().check(density, tasks)
        self._moves(density, theta_start(density, tasks), tasks)

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
        """Draws of the normal around each task's phi."""
        points = theta[:1] if is_point else theta
        scales = self._chosen(density, points, tasks, generator, is_point=is_point, state=state)
        centres = self.around.infer(
            density, points, tasks, generator, is_point=is_point, state=state
        )
        each, found, told = len(theta) // len(points), [], []
        for point, centre, scale in zip(points, centres, scales, strict=True):
            noise, drawn, used = TaskNoise(generator, tasks), [], []
            for c in tasks.chunks(density.d_phi):
                normal = self._normal(density, point, centre[c], tasks.select(c), scale[c])
                drawn.append(normal.draw(each, noise.select(c)))
                used.append(normal.scale[:, 0])
            found.append(torch.cat(drawn, 1))
            told += [torch.cat(used)] * each
        tell("scale", torch.stack(told))
        return torch.cat(found)

    def _chosen(
        self,
        density: Density,
        points: Tensor,
        tasks: Tasks,
        generator: torch.Generator,
        *,
        is_point: bool,
        state: Sequence[Tensor],
    ) -> Tensor:
        """The scale (points, tasks, 1): that given, by held-out data, or NaN for the evidence."""
        given = torch.nan if self.scale is None else self.scale
        scales = torch.full((len(points), len(tasks), 1), given, dtype=tasks.dtype)
        if not self.held_out:
            return scales.to(tasks.device)
        noise, found = TaskNoise(generator, tasks), []
        train, scored = hold_out(density, points[0], tasks, self.held_out, noise)
        assert scored is not None
        warn_of_none_held_out(tasks, scored.sizes, self.held_out, "their scale is the evidence's")
        centres = self.around.infer(
            density, points, train, generator, is_point=is_point, state=state
        )
        for point, centre in zip(points, centres, strict=True):
            for c in tasks.chunks(density.d_phi):
                start = scales[0, c].to(centre)
                normal = self._normal(density, point, centre[c], train.select(c), start)
                best = normal.best_on(scored.select(c), point, noise.select(c))
                found.append(torch.where((scored.sizes[c] > 0)[:, None], best, torch.nan))
        return torch.cat(found).reshape(scales.shape)

    def _normal(
        self, density: Density, theta: Tensor, centre: Tensor, tasks: Tasks, scale: Tensor
    ) -> _Normal:
        """Around the centre (tasks, d_phi); where the scale (tasks, 1) is NaN, of the evidence."""
        layers, moves = self._moves(density, theta, tasks)
        part = PartialDensity(density, layers, moves, centre)
        phi = part.of(centre).detach().requires_grad_()
        with torch.enable_grad():
            curvature = GaussNewton().low_rank(cast(Density, part), theta, phi, [tasks])
        precision = LowRankPrecision(*(x.detach() for x in curvature.tensors()))
        start = part.of(prior_mean(density, theta, tasks))
        best = _best_scale(precision, (phi - start).detach())
        return _Normal(part, precision, torch.where(scale.isnan(), best, scale))

    def _moves(self, density: Density, theta: Tensor, tasks: Tasks) -> tuple[Layers, Tensor]:
        blocks = self.around.blocks if isinstance(self.around, FineTune) else None
        layers = read_layers(density, theta, tasks, blocks)
        return layers, layers.of(*(self.layers or layers.blocks[-1:]))


@dataclass(frozen=True)
class _Normal:
    """N(phi, (D / scale^2 + R' R)^{-1}) of the numbers that are uncertain, scale (tasks, 1)."""

    part: PartialDensity
    precision: LowRankPrecision
    scale: Tensor

    def draw(self, count: int, noise: TaskNoise) -> Tensor:
        """Draws (count, tasks, d_phi)."""
        centre = self.part.of(self.part.base)
        return self._at(self.scale, noise.normal((count, *centre.shape), centre.dtype))

    def best_on(self, scored: Tasks, theta: Tensor, noise: TaskNoise) -> Tensor:
        """The scale with the best log score of these data, one by one, (tasks, 1)."""
        centre, found = self.part.of(self.part.base), []
        z = noise.normal((_DRAWS, *centre.shape), centre.dtype)
        for scale in _SCALES[::_COARSE].tolist():
            drawn = self._at(torch.full_like(self.scale, scale), z)
            density, names = self.part.density, self.part.density.reading.scored
            with torch.no_grad():
                each = [pointwise(density, theta, phi, scored, names) for phi in drawn]
            found.append((torch.stack(each).logsumexp(0) - math.log(_DRAWS)).sum(1))
        best = torch.stack(found).nan_to_num(-torch.inf).argmax(0)
        return _SCALES[::_COARSE].to(centre)[best][:, None]

    def _at(self, scale: Tensor, z: Tensor) -> Tensor:
        precision = LowRankPrecision(self.precision.diagonal / scale.square(), self.precision.rows)
        return self.part.whole(self.part.of(self.part.base) + precision.root().times(z))


def _best_scale(precision: LowRankPrecision, moved: Tensor) -> Tensor:
    """The scale of the prior's sd with the most evidence, for each task, (tasks, 1).

    With B = D^{-1/2} R' R D^{-1/2}, of eigenvalues b, and phi moved from the prior's mean by m,

        log p(D) = const - m' D m / (2 scale^2) - 1/2 sum log(1 + scale^2 b)
    """
    whitened = precision.rows / precision.diagonal.sqrt()[:, None]
    eigen = torch.linalg.eigvalsh((whitened @ whitened.mT).double()).clamp(min=0)
    size = (precision.diagonal * moved.square()).sum(1).double()
    squared = _SCALES.to(eigen.device).square()
    fit = -0.5 * size[:, None] / squared
    volume = -0.5 * (squared[:, None] * eigen[:, None]).log1p().sum(-1)
    # Of equal ones, as without data, the nearest to the model's own.
    nearest = 1e-9 * _SCALES.to(eigen.device).log().abs()
    return _SCALES.to(moved)[(fit + volume - nearest).argmax(1)][:, None]
