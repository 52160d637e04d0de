"""Where each latent site lies in flat theta (d_theta,) and phi (tasks, width), unconstrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions.transforms import IndependentTransform

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.supports import bijection
from bayesmeta.model.checks import StructureError, distribution_name
from bayesmeta.model.structure import Structure


@dataclass(frozen=True)
class Segment:
    """Where a latent site lies in the flat vectors, and how to reshape it there and back.

    A row of phi holds a task's own numbers, and after them those of its datapoints, one after the
    other.

    Attributes:
        name: the site.
        is_phi: whether it is a block of phi (tasks, width), or of theta (d_theta,).
        start, stop: its block; of a local site, in the numbers of a datapoint.
        shape: its unconstrained shape; for phi, without the tasks axis, for a local site also
            without that of the plate "data".
        axis: for phi, the tasks axis counted from the left; the plate "data" (of size 1, but for a
            local site) follows it.
        rows: of a local site, where those of datapoints begin, and how many numbers each has.
    """

    name: str
    is_phi: bool
    start: int
    stop: int
    shape: tuple[int, ...]
    axis: int
    rows: tuple[int, int] | None = None

    @property
    def size(self) -> int:
        """How many numbers it has: of theta, of the phi of one task, or of one datapoint."""
        return self.stop - self.start

    def unflatten(self, flat: Tensor) -> Tensor:
        """The site's unconstrained value out of theta (d_theta,) or phi (tasks, width)."""
        if self.rows is not None:
            block = self.of_rows(flat)[..., self.start : self.stop]
            return block.reshape(*block.shape[:2], *self.shape).movedim((0, 1), self._axes)
        block = flat[..., self.start : self.stop]
        if not self.is_phi:
            return block.reshape(self.shape)
        return block.reshape(len(flat), *self.shape).movedim(0, self.axis)

    def flatten(self, value: Tensor) -> Tensor:
        """The inverse of `unflatten`: (d,), (tasks, d), or of a local site (tasks, data, d)."""
        if self.rows is not None:
            first = value.movedim(self._axes, (0, 1))
            return first.reshape(*first.shape[:2], -1)
        if not self.is_phi:
            return value.reshape(-1)
        return value.movedim(self.axis, 0).reshape(value.shape[self.axis], -1)

    def publish(self, value: Tensor) -> Tensor:
        """A constrained value as users see it: phi as (tasks, ...), local (tasks, data, ...)."""
        if self.rows is not None:
            return value.movedim(self._axes, (0, 1))
        return value.movedim(self.axis, 0).squeeze(self.axis + 1) if self.is_phi else value

    def unpublish(self, value: Tensor) -> Tensor:
        """The inverse of `publish`."""
        if self.rows is not None:
            return value.movedim((0, 1), self._axes)
        return value.unsqueeze(self.axis + 1).movedim(0, self.axis) if self.is_phi else value

    def of_rows(self, phi: Tensor) -> Tensor:
        """What phi (tasks, width) holds of datapoints, (tasks, data, numbers)."""
        assert self.rows is not None
        start, each = self.rows
        return phi[:, start:].reshape(len(phi), -1, each)

    @property
    def _axes(self) -> tuple[int, int]:
        return self.axis, self.axis + 1


def lay_out(structure: Structure, drawn_from: Mapping[str, Any]) -> dict[str, Segment]:
    """Theta's sites one after the other, then phi's and those of datapoints, in the model's order.

    Args:
        structure: the sites by role.
        drawn_from: the distribution of each latent site.

    Raises:
        StructureError: for a site onto whose support no map of real numbers is known.
    """
    segments = {}
    for names, plates in ((structure.theta, 0), (structure.phi, 1), (structure.local, 2)):
        end = 0
        for name in names:
            fn = drawn_from[name]
            whole = tuple(fn.batch_shape) + tuple(fn.event_shape)
            shape = _unconstrained_shape(name, fn, whole)
            axis = len(fn.batch_shape) - 2 if plates else 0
            shape = shape[:axis] + shape[axis + plates :]
            start, end = end, end + int(torch.Size(shape).numel())
            segments[name] = Segment(name, plates > 0, start, end, shape, axis)
    head, each = (
        max((segments[n].stop for n in s), default=0) for s in (structure.phi, structure.local)
    )
    local = {n: replace(segments[n], rows=(head, each)) for n in structure.local}
    return segments | local


def assemble(
    segments: Mapping[str, Segment], flat: Mapping[str, Tensor], tasks: Tasks
) -> tuple[Tensor, Tensor]:
    """Theta (d_theta,) and phi (tasks, width) of what `Segment.flatten` gave, site by site."""
    theta = [x for n, x in flat.items() if not segments[n].is_phi]
    phi = [x for n, x in flat.items() if segments[n].is_phi and segments[n].rows is None]
    local = [x for n, x in flat.items() if segments[n].rows is not None]
    if local:
        phi.append(torch.cat(local, -1).flatten(1))
    empty = torch.empty(0, dtype=tasks.dtype, device=tasks.device)
    return torch.cat(theta or [empty]), torch.cat(phi or [empty.expand(tasks.num_tasks, 0)], 1)


def _unconstrained_shape(name: str, fn: Any, whole: tuple[int, ...]) -> tuple[int, ...]:
    try:
        onto = bijection(fn)
    except NotImplementedError as error:
        raise StructureError(
            f"site '{name}' ({distribution_name(fn)}) has the support {fn.support}, onto which no "
            "map of real numbers is known, by which strategies move; draw it from a distribution "
            "on all reals, the positive numbers, one interval or a simplex, and transform that"
        ) from error
    while isinstance(onto, IndependentTransform):
        onto = onto.base_transform
    # Elementwise maps keep it; torch imports its symbolic shapes, for .6 s, to say so.
    return whole if onto.domain.event_dim == 0 else tuple(onto.inverse_shape(torch.Size(whole)))
