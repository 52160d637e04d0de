"""Where each latent site lies in flat theta (d_theta,) and phi (tasks, d_phi), unconstrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bayesmeta.distributions.supports import bijection
from bayesmeta.model.checks import StructureError, distribution_name
from bayesmeta.model.structure import Structure


@dataclass(frozen=True)
class Segment:
    """Where a latent site lies in the flat vectors, and how to reshape it there and back.

    Attributes:
        name: the site.
        is_phi: whether it is a column block of phi (tasks, d_phi), or a block of theta (d_theta,).
        start, stop: its block.
        shape: its unconstrained shape; for phi, without the tasks axis.
        axis: for phi, the tasks axis counted from the left; the plate "data" (size 1) follows it.
    """

    name: str
    is_phi: bool
    start: int
    stop: int
    shape: tuple[int, ...]
    axis: int

    @property
    def size(self) -> int:
        """How many numbers it has: of theta, or of the phi of one task."""
        return self.stop - self.start

    def unflatten(self, flat: Tensor) -> Tensor:
        """The site's unconstrained value out of theta (d_theta,) or phi (tasks, d_phi)."""
        block = flat[..., self.start : self.stop]
        if not self.is_phi:
            return block.reshape(self.shape)
        return block.reshape(len(flat), *self.shape).movedim(0, self.axis)

    def flatten(self, value: Tensor) -> Tensor:
        """The inverse of `unflatten`: (d,) or (tasks, d)."""
        if not self.is_phi:
            return value.reshape(-1)
        return value.movedim(self.axis, 0).reshape(value.shape[self.axis], -1)

    def publish(self, value: Tensor) -> Tensor:
        """A constrained value as users see it: phi as (tasks, ...), without the plate "data"."""
        return value.movedim(self.axis, 0).squeeze(self.axis + 1) if self.is_phi else value

    def unpublish(self, value: Tensor) -> Tensor:
        """The inverse of `publish`."""
        return value.unsqueeze(self.axis + 1).movedim(0, self.axis) if self.is_phi else value


def lay_out(structure: Structure, drawn_from: Mapping[str, Any]) -> dict[str, Segment]:
    """Theta's sites one after the other, then phi's, in the model's order.

    Args:
        structure: the sites by role.
        drawn_from: the distribution of each latent site.

    Raises:
        StructureError: for a site onto whose support no map of real numbers is known.
    """
    segments, ends = {}, {False: 0, True: 0}
    for name in (*structure.theta, *structure.phi):
        fn, is_phi = drawn_from[name], name in structure.phi
        whole = tuple(fn.batch_shape) + tuple(fn.event_shape)
        shape = _unconstrained_shape(name, fn, whole)
        axis = len(fn.batch_shape) - 2 if is_phi else 0
        if is_phi:
            shape = shape[:axis] + shape[axis + 1 :]
        size, start = int(torch.Size(shape).numel()), ends[is_phi]
        ends[is_phi] = start + size
        segments[name] = Segment(name, is_phi, start, start + size, shape, axis)
    return segments


def _unconstrained_shape(name: str, fn: Any, whole: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(bijection(fn).inverse_shape(torch.Size(whole)))
    except NotImplementedError as error:
        raise StructureError(
            f"site '{name}' ({distribution_name(fn)}) has the support {fn.support}, onto which no "
            "map of real numbers is known, by which strategies move; draw it from a distribution "
            "on all reals, the positive numbers, one interval or a simplex, and transform that"
        ) from error
