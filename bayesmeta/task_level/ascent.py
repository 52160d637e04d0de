"""The maxima of log p(phi_i, D_i | theta): by Newton's method, or by Gauss and Newton's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import normal
from bayesmeta.model.density import Density
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.curvature import Curvature
from bayesmeta.task_level.levenberg_marquardt import View, levenberg_marquardt
from bayesmeta.task_level.positive_definite import DensePrecision, Precision, where

_NEWTON_STEPS = 60
_SMALL_STEP = {torch.float64: 1e-9, torch.float32: 2e-5}
# As many rows of a Gauss-Newton matrix as stay near a processor.
_NUMBERS_AT_ONCE = 500_000
# For a start at which the data are possible: tries, and how far from the middle of the prior in its
# sd, nearer ones as often as further ones.
_TRIES, _AWAY = 200, (0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Modes:
    """Modes phi (draws, tasks, d_phi), and the curvature there, made positive definite."""

    phi: Tensor
    precision: Precision


def find_mode(
    conditional: Conditional,
    theta: Tensor,
    data: Sequence[Tensor] | None = None,
    near: Tensor | None = None,
) -> Modes:
    """The maxima of log p(phi_i, D_i | theta) for each draw of theta (draws, d_theta).

    By Newton's method from `near`, as `climb` has it; Gauss-Newton's takes no notice of it.
    """
    if conditional.curvature.is_exact:
        phi, found = climb(conditional, theta, data, near)
        return Modes(phi, _positive(found))
    given = conditional.data if data is None else data
    return _modes_at(conditional, theta, approach(conditional, theta, given), given)


def modes(
    density: Density, theta: Tensor, tasks: Tasks, curvature: Curvature, *, jacobian: bool
) -> Iterator[tuple[Tensor, Conditional, Modes]]:
    """`find_mode` for however many tasks: (positions, their conditional, modes), part by part."""

    def graphs(part: Tensor) -> Conditional:
        return Conditional(density, tasks.select(part), jacobian=jacobian, curvature=curvature)

    if curvature.is_exact:
        for part in tasks.chunks(density.d_phi):
            conditional = graphs(part)
            yield part, conditional, find_mode(conditional, theta)
        return
    # All parts are of one size, for which graphs are captured once; the last repeats a task.
    numbers = len(theta) * density.width(tasks) * tasks.num_data
    count = -(-len(tasks) // max(1, _NUMBERS_AT_ONCE // max(1, numbers)))
    parts = torch.arange(len(tasks)).split(-(-len(tasks) // count))
    conditional = graphs(parts[0])
    data = tasks.tensors()
    phi = approach(conditional, theta, data)
    for part in parts:
        whole = _filled(part, len(parts[0]))
        found = _modes_at(conditional, theta, phi[:, whole], [x[whole] for x in data])
        precision = curvature.form([x[:, : len(part)] for x in found.precision.tensors()])
        yield part, conditional, Modes(found.phi[:, : len(part)], precision)


def _modes_at(
    conditional: Conditional, theta: Tensor, phi: Tensor, data: Sequence[Tensor]
) -> Modes:
    tensors = conditional.at(conditional.curve, theta, phi, data=data)[3:]
    return Modes(phi, conditional.curvature.form(tensors))


def climb(
    conditional: Conditional,
    theta: Tensor,
    data: Sequence[Tensor] | None = None,
    near: Tensor | None = None,
) -> tuple[Tensor, DensePrecision]:
    """Maximise log p(phi_i, D_i | theta) by Newton's method, for each draw (draws, d_theta).

    It starts at the mean of p(phi | theta), or where it is told to, and never goes down.

    Args:
        conditional: the graphs, captured at the shapes of the data.
        theta: draws (draws, d_theta).
        data: of the tasks, where they are not those of the graphs.
        near: where to start, (draws, tasks, d_phi), but where the density is zero there.

    Returns:
        phi (draws, tasks, d_phi), and the Hessian there.
    """

    def look(phi: Tensor) -> View:
        return conditional.at(conditional.curve, theta, phi, data=data)

    phi = _start(conditional, theta, data) if near is None else near
    view = look(phi)
    possible = torch.isfinite(view[0])
    if near is not None and not possible.all():
        phi = torch.where(possible[..., None], near, _start(conditional, theta, data))
        view = look(phi)
    phi, view = _newton(look, phi, view)
    return phi, DensePrecision(*view[3:])


def approach(
    conditional: Conditional,
    theta: Tensor,
    data: Sequence[Tensor],
    steps: int | None = None,
) -> Tensor:
    """Maximise it by Gauss-Newton steps, for any number of tasks, a graph's number at a time.

    It starts at the mean of p(phi | theta) and never goes down. Where a network has kinks
    (rectified units) the maximum may lie on one, which has no zero gradient: the search then ends
    after a number of steps, near it. Where Gauss-Newton is not positive definite, because the
    prior is not concave, phi is NaN.

    Args:
        conditional: the graphs, captured for some of the tasks or all.
        theta: draws (draws, d_theta).
        data: of all tasks.
        steps: how many there are at most; None goes on until no step promises a gain.

    Returns:
        phi (draws, tasks, d_phi).
    """
    size = len(conditional.data[0])
    parts = torch.arange(len(data[0])).split(size)

    def start(part: Tensor) -> Tensor:
        whole = _filled(part, size)
        return _start(conditional, theta, [x[whole] for x in data])[:, : len(part)]

    def given(index: Tensor) -> Sequence[Tensor]:
        return [x[index] for x in data] if len(parts) > 1 else data

    def look(phi: Tensor, index: Tensor) -> View:
        return conditional.at(conditional.curve, theta, phi, data=given(index))

    def height(phi: Tensor, index: Tensor) -> Tensor:
        return conditional.at(conditional.value, theta, phi, data=given(index))[0]

    starts = torch.cat([start(part) for part in parts], 1)
    return levenberg_marquardt(look, conditional.curvature.form, starts, size, height, steps)


def _filled(part: Tensor, size: int) -> Tensor:
    return torch.cat([part, part[-1:].expand(size - len(part))])


def _start(conditional: Conditional, theta: Tensor, data: Sequence[Tensor] | None) -> Tensor:
    (phi,) = conditional.at(conditional.start, theta, data=data)
    return _possible(conditional, theta, phi, data)


def _newton(look: Callable[[Tensor], View], phi: Tensor, view: View) -> tuple[Tensor, View]:
    """Damped Newton from phi, of which the view is: a step that does not go up is halved.

    Where the curvature is not positive definite its eigenvalues are made positive, so that each
    step goes uphill.
    """
    share = torch.ones_like(phi[..., 0])
    for _ in range(_NEWTON_STEPS):
        value, gradient, step, *tensors = view
        precision = DensePrecision(*tensors)
        step = _uphill(step, gradient, precision)
        # A task that has arrived stays, however long others take.
        near = _SMALL_STEP[phi.dtype] * (_units(precision) + phi.abs())
        goes_on = (step.abs() > near).any(-1)
        if not goes_on.any():
            break
        proposal = phi + share[..., None] * step
        new = look(proposal)
        up = goes_on & (new[0] >= value - 1e-12 * value.abs())
        share = torch.where(up, (2 * share).clamp(max=1), share / 2)
        phi, *rest = where(up, (proposal, *new), (phi, *view))
        view = tuple(rest)
    return phi, view


def _units(precision: DensePrecision) -> Tensor:
    """The sd of each number of phi given the others, (draws, tasks, d_phi); 1 without curvature."""
    bends = precision.matrix.diagonal(dim1=-2, dim2=-1).abs()
    return torch.where(bends > 0, bends.rsqrt(), 1.0)


def _positive(precision: DensePrecision) -> DensePrecision:
    """The same with its eigenvalues made positive."""
    eigenvalues, vectors = torch.linalg.eigh(precision.matrix)
    size = eigenvalues.abs()
    floor = 1e-10 * size.amax(-1, keepdim=True).clamp(min=1e-300)
    return DensePrecision((vectors * torch.maximum(size, floor)[..., None, :]) @ vectors.mT)


def _uphill(step: Tensor, gradient: Tensor, precision: DensePrecision) -> Tensor:
    """Newton's step, or, where it is NaN, that of the curvature made positive."""
    astray = step.isnan().any(-1)
    if not astray.any():
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
