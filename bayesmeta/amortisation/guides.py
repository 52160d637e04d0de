"""Guides: q(phi_i | D_i, theta) out of a dataset's encoding, in unconstrained space."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

# A datapoint has at most exp(12) times the precision of the prior: float32 factorises no more.
_MOST_LOG = 6.0
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class Anchor(NamedTuple):
    """What is known of phi_i before its data: mean and sd of p(phi_i | theta), (tasks, d_phi)."""

    mean: Tensor
    sd: Tensor


@dataclass(frozen=True)
class Guide(ABC):
    """The family of q(phi_i | D_i, theta). Frozen; what it reads off the encoding is given.

    Everywhere `weights` are as `start` lays them out, `numbers` (tasks, numbers) are the network's,
    about standard at its start, `count` (tasks, 1) are the datapoints of each task, and `anchor` is
    the prior given theta.
    """

    def start(self, d_phi: int, seed: int = 0) -> list[Tensor]:
        """Weights that all tasks share, at their start; most guides have none."""
        return []

    @abstractmethod
    def numbers(self, d_phi: int) -> int:
        """How many numbers a task it takes."""

    @abstractmethod
    def draw(
        self,
        weights: Sequence[Tensor],
        numbers: Tensor,
        count: Tensor,
        anchor: Anchor,
        noise: Tensor,
    ) -> Tensor:
        """phi (draws, tasks, d_phi) out of standard normal noise of that shape."""

    @abstractmethod
    def log_prob(
        self, weights: Sequence[Tensor], numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor
    ) -> Tensor:
        """log q(phi_i | D_i, theta) of phi (draws, tasks, d_phi), (draws, tasks)."""


@dataclass(frozen=True)
class DiagonalNormal(Guide):
    """Normal, the coordinates of phi independent: the prior times a normal factor of the data.

        q(phi) = N(v (m / s^2 + n l r), v),   1 / v = 1 / s^2 + n l

    with prior mean m and sd s given theta, n datapoints, and location r and precision l a datapoint
    by the network. With n = 0 it is the prior.
    """

    def numbers(self, d_phi: int) -> int:
        """A location and a log precision each."""
        return 2 * d_phi

    def draw(
        self,
        weights: Sequence[Tensor],
        numbers: Tensor,
        count: Tensor,
        anchor: Anchor,
        noise: Tensor,
    ) -> Tensor:
        """mean + sd * noise."""
        mean, sd = self._moments(numbers, count, anchor)
        return mean + sd * noise

    def log_prob(
        self, weights: Sequence[Tensor], numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor
    ) -> Tensor:
        """A sum of normal log densities."""
        mean, sd = self._moments(numbers, count, anchor)
        each = -0.5 * ((phi - mean) / sd).square() - sd.log() - _HALF_LOG_2_PI
        return each.sum(-1)

    def _moments(self, numbers: Tensor, count: Tensor, anchor: Anchor) -> tuple[Tensor, Tensor]:
        place, log_precision = numbers.chunk(2, -1)
        factor = count * _bounded(log_precision, 2 * _MOST_LOG).exp()
        precision = anchor.sd**-2 + factor
        return (anchor.mean * anchor.sd**-2 + factor * place) / precision, precision**-0.5


@dataclass(frozen=True)
class FullNormal(Guide):
    """Normal with a full covariance: the prior times a normal factor of the data.

        q(phi) = N(A^{-1} (m / s^2 + n L L' r), A^{-1}),   A = diag(1 / s^2) + n L L'

    with prior mean m and sd s given theta, n datapoints, and location r and triangular L by the
    network. With n = 0 it is the prior; on conjugate models it holds the exact posterior.
    """

    def numbers(self, d_phi: int) -> int:
        """A location and a triangular matrix."""
        return d_phi + d_phi * (d_phi + 1) // 2

    def draw(
        self,
        weights: Sequence[Tensor],
        numbers: Tensor,
        count: Tensor,
        anchor: Anchor,
        noise: Tensor,
    ) -> Tensor:
        """mean + C^{-T} noise, where A = C C'."""
        mean, root = self._moments(numbers, count, anchor)
        step = torch.linalg.solve_triangular(root.mT, noise[..., None], upper=True)
        return mean + step[..., 0]

    def log_prob(
        self, weights: Sequence[Tensor], numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor
    ) -> Tensor:
        """log det C - |C' (phi - mean)|^2 / 2, and the constant."""
        noise = self.whiten(numbers, count, anchor, phi)
        _, root = self._moments(numbers, count, anchor)
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return log_det - (0.5 * noise.square() + _HALF_LOG_2_PI).sum(-1)

    def whiten(self, numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor) -> Tensor:
        """The noise that `draw` makes phi of, (draws, tasks, d_phi)."""
        mean, root = self._moments(numbers, count, anchor)
        return (root.mT @ (phi - mean)[..., None])[..., 0]

    def _moments(self, numbers: Tensor, count: Tensor, anchor: Anchor) -> tuple[Tensor, Tensor]:
        """The mean (tasks, d_phi), and C (tasks, d_phi, d_phi)."""
        d_phi = anchor.mean.shape[-1]
        place, log_diagonal, below = numbers.split([d_phi, d_phi, d_phi * (d_phi - 1) // 2], -1)
        row, column = torch.tril_indices(d_phi, d_phi, -1, device=numbers.device)
        lower = torch.diag_embed(_bounded(log_diagonal, _MOST_LOG).exp())
        tasks = torch.arange(len(lower), device=numbers.device)[:, None]
        lower = lower.index_put((tasks, row, column), _bounded(below, math.exp(_MOST_LOG)))
        factor = count[..., None] * (lower @ lower.mT)
        root = torch.linalg.cholesky(factor + torch.diag_embed(anchor.sd**-2))
        pull = anchor.mean * anchor.sd**-2 + (factor @ place[..., None])[..., 0]
        return torch.cholesky_solve(pull[..., None], root)[..., 0], root


@dataclass(frozen=True)
class Delta(Guide):
    """A point: phi is a function of the dataset, as in conditional neural processes.

    There is no density to weigh against the prior, so it goes with bm.Predictive().
    """

    def numbers(self, d_phi: int) -> int:
        """phi itself."""
        return d_phi

    def draw(
        self,
        weights: Sequence[Tensor],
        numbers: Tensor,
        count: Tensor,
        anchor: Anchor,
        noise: Tensor,
    ) -> Tensor:
        """The same each time; the prior's mean for a task without data."""
        return torch.where(count > 0, numbers, anchor.mean).expand(noise.shape)

    def log_prob(
        self, weights: Sequence[Tensor], numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor
    ) -> Tensor:
        """Not defined.

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "guide=bm.Delta() has no density, which this bound asks for; use bound=bm.Predictive()"
        )


def _bounded(x: Tensor, most: float) -> Tensor:
    """x where it is small, and never beyond most in size."""
    return most * torch.tanh(x / most)


@dataclass(frozen=True, eq=False)
class TaskPosterior:
    """q(phi_i | D_i, theta) of some tasks, by a guide in units of its own: phi = shift + scale * g.

    Attributes:
        guide: the family of g.
        weights, numbers, count, anchor: what it is given, for g.
        shift, scale: the units of phi by scores, (tasks, d_phi).
        centre, width: those of unconstrained phi, which is centre + width * g where the prior is of
            independent normals, (d_phi,).
    """

    guide: Guide
    weights: Sequence[Tensor]
    numbers: Tensor
    count: Tensor
    anchor: Anchor
    shift: Tensor
    scale: Tensor
    centre: Tensor
    width: Tensor

    def draw(self, noise: Tensor) -> Tensor:
        """phi (draws, tasks, d_phi) out of standard normal noise of that shape."""
        g = self.guide.draw(self.weights, self.numbers, self.count, self.anchor, noise)
        return self.shift + self.scale * g

    def log_prob(self, phi: Tensor) -> Tensor:
        """log q of phi (draws, tasks, d_phi), (draws, tasks)."""
        g = (phi - self.shift) / self.scale
        log_q = self.guide.log_prob(self.weights, self.numbers, self.count, self.anchor, g)
        return log_q - self.scale.log().sum(-1)

    def unconstrained(self, z: Tensor) -> Tensor:
        """Unconstrained phi of scores z, where the prior is of independent normals."""
        return self.centre + self.width * (z - self.shift) / self.scale

    def held(self) -> TaskPosterior:
        """The same, its parameters held where they are."""
        anchor = Anchor(self.anchor.mean.detach(), self.anchor.sd.detach())
        return replace(
            self,
            weights=[w.detach() for w in self.weights],
            numbers=self.numbers.detach(),
            anchor=anchor,
            shift=self.shift.detach(),
            scale=self.scale.detach(),
        )
