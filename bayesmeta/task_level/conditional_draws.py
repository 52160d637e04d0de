"""Draws of p(phi_i | theta, D_i) by Hamiltonian Monte Carlo from dispersed starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.task_level.ascent import Modes, find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.corrected_draws import corrected, steepened
from bayesmeta.task_level.importance import without_nan
from bayesmeta.task_level.positive_definite import DensePrecision, DenseRoot, where
from bayesmeta.task_level.scored_density import ScoredDensity

# Of the share of steps that is accepted, which step sizes are brought to (Neal 2011; Beskos et al.
# 2013), and how fast.
_WANTED, _GAIN = 0.8, 1.0
# How far a step's length varies, as a factor; while paces are found, so far that one is short
# enough where slopes are steep.
_JITTER, _FIRST_JITTER = 1.5, 10.0
# Of chains of which an sd can be told, and at most what it is in units of the curvature.
_FEWEST, _MOST_UNITS = 50, 3.0
# In nats, of mass: a start at a mode that far below another one is at none of the posterior's.
_LOST = 5.0
# In nats of density, beyond one for each number of phi: half of chi-squared, and no more by chance.
_FAR = 25.0
# Draws of the prior that a start is picked among, by their likelihood.
_STARTS = 16


class _Point(NamedTuple):
    """A place in whitened coordinates (draws, tasks, d_phi), with the log density and its slope."""

    x: Tensor
    value: Tensor
    slope: Tensor


class _Whitened:
    """phi = mode + root x, where the curvature at the mode is the identity in x.

    Of several modes it is the one near `start`, (draws, tasks, d_phi), where that is given, unless
    by Laplace's method the mode that is found from the prior's mean has by far more mass. Such a
    start is lost, and NaN, as is one far down from the mode that it led to.
    """

    def __init__(
        self, conditional: Conditional, theta: Tensor, start: Tensor | None, *, is_point: bool
    ) -> None:
        # A point estimate is repeated for each draw of phi, but has a single mode.
        points = theta[:1] if is_point else theta
        mode, self.start = find_mode(conditional, points), start
        if start is not None and isinstance(mode.precision, DensePrecision):
            near = _highest(conditional, theta, start) if is_point else start
            other = find_mode(conditional, points, near=near)
            ahead = _log_mass(conditional, points, mode) - _log_mass(conditional, points, other)
            lost = ahead > _LOST
            phi, matrix = where(lost, _parts(mode), _parts(other))
            mode = Modes(phi, DensePrecision(matrix))
            lost = lost | _are_far(conditional, theta, mode, start)
            self.start = torch.where(lost[..., None], torch.nan, start)
        self.mode = steepened(conditional, points, mode)
        self.root = self.mode.precision.root()
        self.conditional, self.theta = conditional, theta
        self.shape = (len(theta), *self.mode.phi.shape[1:])

    def phi(self, x: Tensor) -> Tensor:
        return self.mode.phi + self.root.times(x)

    def value(self, x: Tensor) -> Tensor:
        (value,) = self.conditional.at(self.conditional.value, self.theta, self.phi(x))
        return value

    def at(self, x: Tensor) -> _Point:
        value, gradient = self.conditional.at(self.conditional.slope, self.theta, self.phi(x))
        return _Point(x, value, self.root.transposed_times(gradient))


def _highest(conditional: Conditional, theta: Tensor, start: Tensor) -> Tensor:
    """Of each task the start of largest density, (1, tasks, d_phi)."""
    (value,) = conditional.at(conditional.value, theta, start)
    best = torch.where(value.isfinite(), value, -torch.inf).argmax(0)
    return start.gather(0, best[None, :, None].expand(1, *start.shape[1:]))


def _are_far(conditional: Conditional, theta: Tensor, mode: Modes, start: Tensor) -> Tensor:
    """Which starts are no draws of the normal at a mode, by their density, (draws, tasks)."""
    (top,) = conditional.at(conditional.value, theta[: len(mode.phi)], mode.phi)
    (value,) = conditional.at(conditional.value, theta, start)
    return top - value > start.shape[-1] + _FAR


def _parts(mode: Modes) -> tuple[Tensor, ...]:
    return mode.phi, *mode.precision.tensors()


def _log_mass(conditional: Conditional, theta: Tensor, mode: Modes) -> Tensor:
    """log of what the normal at a mode integrates to, but for a constant, (points, tasks)."""
    (value,) = conditional.at(conditional.value, theta, mode.phi)
    _, log_det = mode.precision.solve(mode.phi)
    return without_nan(value - 0.5 * log_det).clamp(min=torch.finfo(value.dtype).min)


@dataclass(frozen=True)
class _Pace:
    """Of each task: the step (tasks,), and the units of each coordinate (tasks, d_phi)."""

    step: Tensor
    units: Tensor


def draw_conditional(
    conditional: Conditional,
    theta: Tensor,
    noise: TaskNoise,
    *,
    transitions: int,
    leapfrogs: int,
    step_size: float,
    is_point: bool = False,
    start: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One draw of phi for each draw of theta, from p(phi | theta, D): a chain's last state.

    Hamiltonian Monte Carlo in coordinates whitened by the curvature at the mode, with an accept
    step of its own for each draw and task (they are independent given theta). Every other chain
    starts at the mode, by importance weights, and the others at draws of the prior: where the two
    kinds do not end alike they have not converged, which is seen of the draws. Half of the first
    `transitions` find each task's units, half its step size, and as many follow with these held.

    Where `start` is given, (draws, tasks, d_phi), the first kind begins there in the place of the
    mode, which is sought from there: but for draws that are impossible, or at a mode that has by
    far less mass than the usual one, and for curvatures of low rank.

    Where phi is by scores its prior is standard normal, which the chains of a task without data
    never leave. Coordinates that are not start at the mode in all chains.

    Returns:
        phi (draws, tasks, d_phi), as the density has it, and each task's mean acceptance rate.
    """
    space = _Whitened(conditional, theta, start, is_point=is_point)
    here = space.at(_starts(space, noise, is_point=is_point))
    ones = torch.ones(space.shape[1:], dtype=theta.dtype)
    pace = _Pace(torch.full(space.shape[1:2], step_size, dtype=theta.dtype), ones)
    for _ in range(transitions // 2):
        here, _ = _move(space, here, pace, leapfrogs, noise, jitter=_FIRST_JITTER)
    pace = replace(pace, units=_spread(here.x))
    for count in range(transitions - transitions // 2):
        here, rate = _move(space, here, pace, leapfrogs, noise, jitter=_JITTER)
        factor = (_GAIN / (1 + count) ** 0.5 * (rate.mean(0) - _WANTED)).exp()
        pace = replace(pace, step=pace.step * factor)
    accepted = torch.zeros_like(here.value)
    for _ in range(transitions):
        here, rate = _move(space, here, pace, leapfrogs, noise, jitter=_JITTER)
        accepted += rate / transitions
    return space.phi(here.x), accepted.mean(0)


def _starts(space: _Whitened, noise: TaskNoise, *, is_point: bool) -> Tensor:
    """At the mode or where it is told to, every other draw at one of the prior, as coordinates."""
    begun = corrected(space.conditional, space.theta, space.mode, noise, is_point=is_point).x
    if space.start is not None and isinstance(space.root, DenseRoot):
        near = space.root.inverse_times(space.start - space.mode.phi)
        begun = torch.where(space.value(near).isfinite()[..., None], near, begun)
    density = space.conditional.density
    if not (isinstance(space.root, DenseRoot) and isinstance(density, ScoredDensity)):
        return begun
    is_scored = density.is_scored(begun)
    if len(is_scored) != begun.shape[-1]:
        return begun
    found, at_mode = begun, space.phi(begun)
    best = torch.full(space.shape[:2], -torch.inf, dtype=begun.dtype, device=begun.device)
    is_other = torch.arange(len(begun), device=begun.device)[:, None] % 2 == 1
    for _ in range(_STARTS):
        z = torch.where(is_scored, noise.normal(space.shape, begun.dtype), at_mode)
        x = space.root.inverse_times(z - space.mode.phi)
        size = torch.where(is_scored, z.square(), 0.0).sum(-1)
        likelihood = without_nan(space.value(x)) + 0.5 * size
        # The largest of them with Gumbel noise is a draw by their shares.
        chance = noise.uniform(best.shape, best.dtype).clamp(min=1e-30)
        mark = likelihood - (-chance.log()).log()
        better = is_other & (mark > best)
        found, best = torch.where(better[..., None], x, found), torch.where(better, mark, best)
    return found


def _spread(x: Tensor) -> Tensor:
    """The sd of each coordinate over the chains that did not begin at the prior, (tasks, d_phi)."""
    if len(x) < _FEWEST:
        return torch.ones_like(x[0])
    return x[::2].std(0).clamp(1e-6, _MOST_UNITS)


def _move(
    space: _Whitened, here: _Point, pace: _Pace, leapfrogs: int, noise: TaskNoise, *, jitter: float
) -> tuple[_Point, Tensor]:
    """One transition of all chains, and the chances of acceptance (draws, tasks)."""
    start = noise.normal(space.shape, here.x.dtype)
    shake = jitter ** -noise.uniform(space.shape[:2], here.x.dtype)
    step = (pace.step * shake)[..., None] * pace.units
    there, momentum = _leapfrog(space, here, start, leapfrogs, step)
    kinetic = 0.5 * (start.square().sum(-1) - momentum.square().sum(-1))
    gain = there.value - here.value + kinetic
    rate = torch.nan_to_num(gain, nan=-torch.inf).clamp(max=0).exp()
    take = noise.uniform(rate.shape, rate.dtype) < rate
    moved = _Point(
        torch.where(take[..., None], there.x, here.x),
        torch.where(take, there.value, here.value),
        torch.where(take[..., None], there.slope, here.slope),
    )
    return moved, rate


def _leapfrog(
    space: _Whitened, at: _Point, momentum: Tensor, count: int, step: Tensor
) -> tuple[_Point, Tensor]:
    """Where a trajectory ends, and with which momentum, in the units of the step's coordinates."""
    for _ in range(count):
        momentum = momentum + 0.5 * step * at.slope
        at = space.at(at.x + step * momentum)
        momentum = momentum + 0.5 * step * at.slope
    return at, momentum
