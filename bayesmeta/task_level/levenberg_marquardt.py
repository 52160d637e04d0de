"""Levenberg and Marquardt's search for many tasks, each of which ends when it has arrived."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from bayesmeta.task_level.positive_definite import Precision, where

# In nats: what a step may still promise where the search ends.
_SMALL_GAIN = {torch.float64: 1e-12, torch.float32: 1e-2}
# A step that promises less is the last, and not looked at, where the one before did as it said.
_LAST_GAIN, _AS_SAID = {torch.float64: 0.0, torch.float32: 5e-2}, 0.75
_STEPS = {torch.float64: 200, torch.float32: 30}
_MOST_DAMPING = 1e8

# At a point: value, gradient, the step that is not damped, and the tensors of the curvature A.
View = tuple[Tensor, ...]
Look = Callable[[Tensor, Tensor], View]
Form = Callable[[Sequence[Tensor]], Precision]


def levenberg_marquardt(
    look: Look,
    form: Form,
    start: Tensor,
    slots: int,
    height: Callable[[Tensor, Tensor], Tensor],
    steps: int | None = None,
) -> Tensor:
    """Steps of A with more on its diagonal (Marquardt 1963), uphill.

    The damping falls where the gain is what the step promised, and grows where it is not. It is 0
    at first, so that a quadratic is climbed in a single step. Tasks take many steps or few: one
    that has arrived makes room for one that waits, so that none is looked at in vain.

    Args:
        look: phi (draws, slots, d_phi) of the tasks at positions (slots,) to what is seen there.
        form: A, out of its tensors.
        start: of all tasks, (draws, tasks, d_phi).
        slots: how many tasks are looked at together.
        height: the value alone of what `look` sees, for where the last step leads.
        steps: how many there are at most; None goes on until no step promises a gain.

    Returns:
        phi (draws, tasks, d_phi); NaN where A is not positive definite.
    """
    most = _STEPS[start.dtype] if steps is None else steps
    search = _Search(look, form, start, slots, height, most)
    while search.goes_on():
        search.step()
    return search.found


class _Search:
    """What is known of the tasks in the slots.

    Attributes:
        found: the phi of the tasks that have arrived.
    """

    def __init__(
        self,
        look: Look,
        form: Form,
        start: Tensor,
        slots: int,
        height: Callable[[Tensor, Tensor], Tensor],
        steps: int,
    ) -> None:
        self.look, self.form, self.height = look, form, height
        self.start, self.steps = start, steps
        self.found = start.clone()
        self.index = torch.arange(min(slots, start.shape[1]), device=start.device)
        self.entered = len(self.index)
        self.phi = start[:, self.index]
        self.view = look(self.phi, self.index)
        self.damping = torch.zeros_like(self.phi[..., 0])
        self.taken = torch.zeros_like(self.index)
        self.share = torch.zeros_like(self.damping)

    def goes_on(self) -> bool:
        """Whether there is a step to take; keeps what has arrived."""
        value, gradient, step, *tensors = self.view
        if self.damping.any() and (self.taken < self.steps).any():
            step = self.form(tensors).damped(self.damping).solve(gradient)[0]
        self.ahead, self.promise = step, 0.5 * (step * gradient).sum(-1)
        least = _SMALL_GAIN[value.dtype] + 4 * torch.finfo(value.dtype).eps * value.abs()
        self.moves = (self.promise > least) & (self.damping < _MOST_DAMPING)
        self.moves &= self.taken < self.steps
        ends = self.moves & (self.promise < _LAST_GAIN[value.dtype]) & (self.damping == 0)
        ends &= self.share > _AS_SAID
        self.free = (~self.moves | ends).all(0).nonzero()[:, 0]
        # No step leads on from where A is not positive, and it is no mode.
        lost = self.view[2].isnan().any(-1, keepdim=True)
        phi = torch.where(ends[..., None], self.phi + step, self.phi).masked_fill(lost, torch.nan)
        self.found[:, self.index[self.free]] = phi[:, self.free]
        return len(self.free) < len(self.index) or self.entered < self.start.shape[1]

    def step(self) -> None:
        """One step for each task on its way; those that wait enter free slots at their start."""
        new = self.free[: self.start.shape[1] - self.entered]
        entering = torch.zeros_like(self.index, dtype=torch.bool)
        entering[new] = True
        self.index = self.index.clone()
        self.index[new] = torch.arange(self.entered, self.entered + len(new), device=new.device)
        self.entered += len(new)
        there = torch.where(entering[:, None], self.start[:, self.index], self.phi + self.ahead)
        is_last = not len(new) and bool((self.taken + 1 >= self.steps).all())
        if is_last:
            view = self.height(there, self.index), *self.view[1:]
        else:
            view = self.look(there, self.index)
        gain = (view[0] - self.view[0]) / self.promise
        slower = torch.where(gain > 0.5, self.damping / 2, self.damping)
        slower = torch.where(gain > 0.1, slower, (8 * self.damping).clamp(min=1))
        self.damping = torch.where(self.moves, slower, self.damping).masked_fill(entering, 0)
        self.taken = torch.where(entering, 0, self.taken + 1)
        self.share = gain.masked_fill(entering, 0)
        accepted = entering | (self.moves & (view[0] >= self.view[0]))
        if is_last:
            self.phi = torch.where(accepted[..., None], there, self.phi)
            return
        self.phi, *rest = where(accepted, (there, *view), (self.phi, *self.view))
        self.view = tuple(rest)
