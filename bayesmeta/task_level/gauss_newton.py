"""Gauss-Newton: a curvature that is positive, and of low rank beside the prior's, for networks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributions as d

from bayesmeta.data.arguments import check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.engine.noise import normal
from bayesmeta.model.checks import StructureError, distribution_name
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.curvature import Curvature, Hessian
from bayesmeta.task_level.positive_definite import DensePrecision, LowRankPrecision, Precision

# Families whose Fisher information is that of their mean: (d mean)^2 / variance.
_BY_MEAN = (d.Poisson, d.Binomial, d.Exponential, d.Geometric)
MOST_DENSE = 64
_TOLERANCE = 1e-4
_FEW = 2
_TASKS_TRIED = 64


@dataclass(frozen=True)
class GaussNewton(Curvature):
    """The prior's curvature and the data's Fisher information (Schraudolph 2002; Martens 2020):

        A_i = D_i + sum_j J_ij' F_ij J_ij,   D_i = -d^2 log p(phi_i | theta) / d phi^2, diagonal

    where J_ij is how the parameters of y_ij's distribution move with phi_i and F_ij is their Fisher
    information. It is the Hessian where those parameters are linear in phi and are the natural
    ones, and leaves out the second derivatives of networks elsewhere. Its rank beside D is the
    number of outcomes m, so that a task takes m backward passes, batched, and m^2 d_phi operations:
    for networks with few data a task. Outcomes may be normal, categorical, Bernoulli, Poisson,
    binomial, exponential or geometric; coordinates of phi are independent given theta.

    In training, where a gradient is of a batch of tasks, a few steps towards the mode do: from
    p(phi | theta)'s mean the first goes most of the way, and the gradient through the mode takes A
    for the Hessian, which at a rectified network's kinks is nearly singular. So it is in float32,
    the dtype of training; in float64 a log evidence is that of the mode itself, with the
    Hessian in its gradient. `adapt` always goes to the mode.

    Attributes:
        steps: of a log evidence's search, with A in its gradient; None takes 2 in float32, and goes
            to the mode in float64.
    """

    steps: int | None = None

    is_exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_whole(self, "steps", self.steps, or_none=True)

    def steps_in(self, dtype: torch.dtype) -> int | None:
        """Those given, or a few in float32."""
        return _FEW if self.steps is None and dtype == torch.float32 else self.steps

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse outcomes and priors that it does not know, at a draw from the prior."""
        with isolated(seed=0), torch.no_grad():
            theta, phi = draw_prior(density, tasks)
            sites = density.outcomes(theta, phi, tasks)
        for name, site in sites.items():
            if not any(True for _ in _predictors(site.fn)):
                raise _refusal(f"site '{name}' is {distribution_name(site.fn)}, which it does not")
            if not torch.allclose(site.fn.log_prob(site.value), site.log_prob):
                raise _refusal(f"site '{name}' is masked or scaled in the model, which it does not")
        if density.structure.discrete:
            raise _refusal(
                f"the model has the discrete {density.structure.discrete[0]}, which it does not"
            )
        if density.has_data_factors:
            raise _refusal("the model has a pyro.factor in the plate 'data', which it does not")
        # Priors of phi are of one form for all tasks: some of many do.
        some = torch.arange(len(tasks))[:: max(1, len(tasks) // _TASKS_TRIED)]
        self._check_prior(density, theta, phi[some], tasks.select(some))

    def _check_prior(self, density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> None:
        probe = normal(phi.shape, phi.dtype, torch.Generator().manual_seed(0))
        at = phi.detach().requires_grad_()
        slope = _prior_slope(density, theta, at, tasks, jacobian=True)
        diagonal = -_product(slope, at, torch.ones_like(at))
        if not torch.allclose(-_product(slope, at, probe), diagonal * probe, atol=_TOLERANCE):
            raise _refusal(
                "coordinates of phi depend on each other given theta (by a correlated prior, or by "
                "one phi site that reads another), which it does not"
            )
        if not (diagonal > 0).all():
            raise _refusal("log p(phi | theta) is not concave at a draw from it, which it does not")

    def form(self, tensors: Sequence[Tensor]) -> Precision:
        """Of low rank, or dense where there are more data than coordinates."""
        return DensePrecision(*tensors) if len(tensors) == 1 else LowRankPrecision(*tensors)

    def precision(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        parts: Sequence[Tasks],
        gradient: Tensor,
        *,
        jacobian: bool,
    ) -> Precision:
        """D and one row an outcome's parameter, by one batched backward pass."""
        found = self.low_rank(density, theta, phi, parts, jacobian=jacobian)
        return found.dense() if found.rows.shape[1] >= density.d_phi else found

    def low_rank(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        parts: Sequence[Tasks],
        *,
        jacobian: bool = True,
    ) -> LowRankPrecision:
        """D and the rows, however many there are."""
        slope = _prior_slope(density, theta, phi, parts[0], jacobian=jacobian)
        diagonal = -_product(slope, phi, torch.ones_like(phi))
        rows = [row for part in parts for row in _rows(density, theta, phi, part)]
        return LowRankPrecision(diagonal, rows[0] if len(rows) == 1 else torch.cat(rows, dim=1))


def choose(
    curvature: Curvature | None, density: Density, tasks: Tasks, most_dense: int = MOST_DENSE
) -> Curvature:
    """The curvature given; or the Hessian for a small phi, and else Gauss-Newton if it can.

    The choice draws from the prior, which no captured graph may: `check` makes it, once a density.
    """
    if curvature is not None:
        return curvature
    if density.d_phi <= most_dense or density.d_local or density.structure.discrete:
        return Hessian()
    if choose not in density.solvers:
        try:
            GaussNewton().check(density, tasks)
            density.solvers[choose] = GaussNewton()
        except StructureError:
            density.solvers[choose] = Hessian()
    found: Curvature = density.solvers[choose]
    return found


def _refusal(what: str) -> StructureError:
    return StructureError(
        f"bm.GaussNewton() knows some outcomes and independent phi only: {what} treat; use "
        "curvature=bm.Hessian() where the strategy takes one, or another phi strategy"
    )


def _prior_slope(
    density: Density, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool
) -> Tensor:
    value = density.terms(theta, phi, tasks, jacobian=jacobian).phi
    return torch.autograd.grad(value.sum(), phi, create_graph=True)[0]


def _product(slope: Tensor, phi: Tensor, vector: Tensor) -> Tensor:
    """The slope's derivative in phi times a vector, for a symmetric derivative."""
    if not slope.requires_grad:
        return torch.zeros_like(phi)
    return torch.autograd.grad(
        slope, phi, grad_outputs=vector, create_graph=True, materialize_grads=True
    )[0]


def _rows(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Iterator[Tensor]:
    """Rows r (tasks, any, d_phi), the sum of whose r r' is the data's Fisher information."""
    for site in density.outcomes(theta, phi, tasks).values():
        for weight, parameter in _predictors(site.fn):
            if not parameter.requires_grad:
                continue
            values = _by_cell(parameter, site.fn, tasks)
            weights = _by_cell(weight.expand(parameter.shape), site.fn, tasks)
            slopes = _slopes(values, phi, weights)
            if slopes is not None:
                yield slopes.movedim(0, 1)


def _slopes(values: Tensor, phi: Tensor, weights: Tensor) -> Tensor | None:
    """Weights times derivatives in phi of values, both (tasks, cells): (cells, tasks, d_phi).

    None where no value depends on phi.
    """
    each = torch.diag_embed(weights).movedim(1, 0)

    def derive(weights: Tensor, *, batched: bool) -> Tensor | None:
        (found,) = torch.autograd.grad(
            values,
            phi,
            weights,
            create_graph=True,
            allow_unused=True,
            is_grads_batched=batched,
        )
        return found

    try:
        return derive(each, batched=True)
    except RuntimeError:
        # torch's own group normalisation, for one, has no batched second derivative.
        rows = [derive(one, batched=False) for one in each]
        return torch.stack([row for row in rows if row is not None])


def _predictors(fn: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Pairs (w, eta) of a distribution: its Fisher information is the sum of w^2 d eta d eta'."""
    base = base_distribution(fn)
    whole = fn.batch_shape + fn.event_shape
    if isinstance(base, d.Normal):
        yield 1 / base.scale.expand(whole), base.loc.expand(whole)
        yield torch.full((), math.sqrt(2.0)), base.scale.expand(whole).log()
    elif isinstance(base, d.Categorical):
        log_p = base.logits.log_softmax(-1).expand(*whole, -1)
        yield (0.5 * log_p).exp(), log_p
    elif isinstance(base, d.Bernoulli):
        logits = base.logits.expand(whole)
        half = torch.nn.functional.logsigmoid(logits) + torch.nn.functional.logsigmoid(-logits)
        yield (0.5 * half).exp(), logits
    elif isinstance(base, _BY_MEAN):
        yield base.variance.expand(whole).rsqrt(), base.mean.expand(whole)


def _by_cell(value: Tensor, fn: Any, tasks: Tasks) -> Tensor:
    """(..., tasks, data, ...) as (tasks, cells), zero on padding."""
    after = value.dim() - len(fn.batch_shape)
    if tasks.ragged:
        value = torch.where(tasks.mask.reshape(*tasks.mask.shape, *[1] * after), value, 0.0)
    return value.movedim(-2 - after, 0).flatten(1)
