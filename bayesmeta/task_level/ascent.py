"""The maxima of log p(phi_i, D_i | theta): Newton's method, or Levenberg and Marquardt's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.engine.noise import normal
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.positive_definite import DensePrecision, Precision, where

_NEWTON_STEPS = 60
_SMALL_STEP = {torch.float64: 1e-9, torch.float32: 2e-5}
# In nats: what a step of Gauss-Newton may still promise where the search ends.
_MARQUARDT_STEPS = {torch.float64: 200, torch.float32: 30}
_SMALL_GAIN = {torch.float64: 1e-12, torch.float32: 1e-3}
_MOST_DAMPING = 1e8
# For a start at which the data are possible: tries, and how far from the middle of the prior in its
# sd, nearer ones as often as further ones.
_TRIES, _AWAY = 200, (0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Modes:
    """Modes phi (draws, tasks, d_phi), and the curvature there, made positive definite."""

    phi: Tensor
    precision: Precision


def find_mode(
    conditional: Conditional, theta: Tensor, data: Sequence[Tensor] | None = None
) -> Modes:
    """The maxima of log p(phi_i, D_i | theta) for each draw of theta (draws, d_theta)."""
    phi, precision = climb(conditional, theta, data)
    if isinstance(precision, DensePrecision):
        precision = _positive(precision)
    return Modes(phi, precision)


def climb(
    conditional: Conditional, theta: Tensor, data: Sequence[Tensor] | None = None
) -> tuple[Tensor, Precision]:
    """Maximise log p(phi_i, D_i | theta) for each draw of theta (draws, d_theta).

    It starts at the mean of p(phi | theta) and never goes down. Where a network has kinks
    (rectified units) the maximum may lie on one, which has no zero gradient: the search then ends
    after a number of steps, near it. Where Gauss-Newton is not positive definite, because the
    prior is not concave, phi is NaN.

    Returns:
        phi (draws, tasks, d_phi), and the curvature there.
    """

    def look(phi: Tensor) -> View:
        return conditional.at(conditional.curve, theta, phi, data=data)

    (phi,) = conditional.at(conditional.start, theta, data=data)
    phi = _possible(conditional, theta, phi, data)
    form = conditional.curvature.form
    search = _newton if conditional.curvature.is_exact else _levenberg_marquardt
    phi, view = search(look, form, phi)
    return phi, form(view[3:])


# At a point: value, gradient, Newton's step, and the tensors of the curvature.
View = tuple[Tensor, ...]
Look = Callable[[Tensor], View]
Form = Callable[[Sequence[Tensor]], Precision]


def _newton(look: Look, form: Form, phi: Tensor) -> tuple[Tensor, View]:
    """Damped Newton: a step that does not go up is halved.

    Where the curvature is not positive definite its eigenvalues are made positive, so that each
    step goes uphill.
    """
    view, share = look(phi), torch.ones_like(phi[..., 0])
    for _ in range(_NEWTON_STEPS):
        value, gradient, step, *tensors = view
        step = _uphill(step, gradient, form(tensors))
        # A task that has arrived stays, however long others take.
        goes_on = step.abs().amax(-1) > _SMALL_STEP[phi.dtype] * (1 + phi.abs().amax(-1))
        if not goes_on.any():
            break
        proposal = phi + share[..., None] * step
        new = look(proposal)
        up = goes_on & (new[0] >= value - 1e-12 * value.abs())
        share = torch.where(up, (2 * share).clamp(max=1), share / 2)
        phi, *rest = where(up, (proposal, *new), (phi, *view))
        view = tuple(rest)
    return phi, view


def _levenberg_marquardt(look: Look, form: Form, phi: Tensor) -> tuple[Tensor, View]:
    """Steps of A with more on its diagonal (Marquardt 1963).

    The damping falls where the gain is what the step promised, and grows where it is not. It is 0
    at first, so that a quadratic is climbed in a single step.
    """
    view, damping = look(phi), torch.zeros_like(phi[..., 0])
    rounding = 4 * torch.finfo(phi.dtype).eps
    for _ in range(_MARQUARDT_STEPS[phi.dtype]):
        value, gradient, _, *tensors = view
        step, _ = form(tensors).damped(damping).solve(gradient)
        promise = 0.5 * (step * gradient).sum(-1)
        least = _SMALL_GAIN[phi.dtype] + rounding * value.abs()
        goes_on = (promise > least) & (damping < _MOST_DAMPING)
        if not goes_on.any():
            break
        new = look(phi + step)
        gain = (new[0] - value) / promise
        slower = torch.where(gain > 0.5, damping / 4, damping)
        slower = torch.where(gain > 0.1, slower, (4 * damping).clamp(min=1))
        damping = torch.where(goes_on, slower, damping)
        phi, *rest = where(goes_on & (new[0] >= value), (phi + step, *new), (phi, *view))
        view = tuple(rest)
    # No step leads on from where the curvature is not positive, and it is no mode.
    return phi.masked_fill(view[2].isnan().any(-1, keepdim=True), torch.nan), view


def _positive(precision: DensePrecision) -> DensePrecision:
    """The same with its eigenvalues made positive."""
    eigenvalues, vectors = torch.linalg.eigh(precision.matrix)
    size = eigenvalues.abs()
    floor = 1e-10 * size.amax(-1, keepdim=True).clamp(min=1e-300)
    return DensePrecision((vectors * torch.maximum(size, floor)[..., None, :]) @ vectors.mT)


def _uphill(step: Tensor, gradient: Tensor, precision: Precision) -> Tensor:
    """Newton's step, or, where it is NaN, that of the curvature made positive."""
    astray = step.isnan().any(-1)
    if not astray.any() or not isinstance(precision, DensePrecision):
        return step
    other, _ = _positive(precision).solve(gradient)
    return torch.where(astray[..., None], other, step)


def _possible(
    conditional: Conditional, theta: Tensor, phi: Tensor, data: Sequence[Tensor] | None = None
) -> Tensor:
    """phi (draws, tasks, d_phi), moved about at random where its density is zero until it is not.

    From a density of zero, whose gradient is that of the prior, no search climbs. The random
    numbers are the same at each call.
    """
    if not conditional.density.reading.bounded or not phi.shape[-1]:
        return phi
    middle, generator = phi, torch.Generator().manual_seed(0)
    (value,) = conditional.at(conditional.value, theta, phi, data=data)
    (sd,) = conditional.at(conditional.spread, theta, phi, data=data)
    impossible = ~torch.isfinite(value)
    for k in range(_TRIES):
        if not impossible.any():
            break
        noise = normal(phi.shape[1:], phi.dtype, generator)
        other = middle + _AWAY[k % len(_AWAY)] * sd * noise
        (value,) = conditional.at(conditional.value, theta, other, data=data)
        better = impossible & torch.isfinite(value)
        phi, impossible = torch.where(better[..., None], other, phi), impossible & ~better
    return phi
