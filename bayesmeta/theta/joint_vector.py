"""Theta and the phi of all tasks as one vector, the tasks in groups of like size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from bayesmeta.data.size_groups import group_by_size
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi


@dataclass(frozen=True, eq=False)
class JointVector:
    """How a sampler's vector q (dim,) is made of theta and, where it is free, of phi.

    Attributes:
        density: whose they are.
        tasks: as they are given.
        groups: the tasks as they stand in q, one group after the other.
        order: which of the tasks stands where in q.
        has_phi: whether phi is in it.
    """

    density: Density
    tasks: Tasks
    groups: tuple[Tasks, ...]
    order: Tensor
    has_phi: bool

    @classmethod
    def of(cls, density: Density, tasks: Tasks, phi: Phi) -> JointVector:
        """That of theta and phi for a joint strategy, and else of theta."""
        if not phi.is_joint:
            return cls(density, tasks, (tasks,), torch.arange(tasks.num_tasks), False)
        order, groups = group_by_size(tasks)
        return cls(density, tasks, tuple(groups), order, True)

    @property
    def dim(self) -> int:
        """How many numbers there are."""
        return sum(self._parts)

    def split(self, q: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Theta, and of each group phi (tasks, width), out of q (dim,)."""
        theta, *blocks = q.split(self._parts)
        shapes = zip(blocks, self.groups, self._widths, strict=True)
        return theta, [block.reshape(group.num_tasks, width) for block, group, width in shapes]

    def join(self, theta: Tensor, phi: Tensor) -> Tensor:
        """q of theta and the phi of all tasks as they are given, (tasks, width)."""
        parts, at = [theta], 0
        for group, width in zip(self.groups, self._widths, strict=True):
            parts.append(phi[self.order[at : at + group.num_tasks], :width].reshape(-1))
            at += group.num_tasks
        return torch.cat(parts)

    def phi(self, q: Tensor) -> Tensor:
        """The phi of all tasks as they are given, out of q (..., dim): (..., tasks, width).

        Numbers of padding that a group does without are 0.
        """
        lead = q.shape[:-1]
        found = q.new_zeros(*lead, self.tasks.num_tasks, self.density.width(self.tasks))
        blocks, at = q.split(self._parts, -1)[1:], 0
        for block, group, width in zip(blocks, self.groups, self._widths, strict=True):
            chosen = self.order[at : at + group.num_tasks]
            found[..., chosen, :width] = block.reshape(*lead, group.num_tasks, width)
            at += group.num_tasks
        return found

    @cached_property
    def _widths(self) -> list[int]:
        return [self.density.width(group) if self.has_phi else 0 for group in self.groups]

    @cached_property
    def _parts(self) -> list[int]:
        sizes = zip(self.groups, self._widths, strict=True)
        return [self.density.d_theta, *(group.num_tasks * width for group, width in sizes)]
