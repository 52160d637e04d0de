"""Sites: the statements of a model as they ran, and how values are chosen for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


@dataclass(frozen=True)
class Plate:
    """One plate around a site: its name, its batch dimension (negative) and its size."""

    name: str
    dim: int
    size: int


@dataclass(frozen=True)
class Choice:
    """A value for a site, and its log density where the chooser knows it better than the site."""

    value: Tensor
    log_prob: Tensor | None = None


Chooser = Callable[[str, Any], Choice | None]


@dataclass(frozen=True)
class Site:
    """One statement of the model as it ran: what it drew from, what it got, and in which plates.

    A `pyro.param` appears as a draw from an improper uniform on its constraint: a flat prior.
    """

    name: str
    fn: Any
    value: Tensor
    is_observed: bool
    is_param: bool
    is_deterministic: bool
    plates: tuple[Plate, ...]
    log_prob: Tensor
    provenance: frozenset[str]


class SiteNameError(ValueError):
    """Two statements of the model share a name."""


class SiteShapeError(ValueError):
    """The value of a site does not fit its plates and distribution."""


class FlatPrior(dist.ImproperUniform):
    """What a `pyro.param` is drawn from: density 1 on its constraint, and its start as the draw."""

    def __init__(self, constraint: Any, start: Tensor) -> None:
        whole = dist.constraints.independent(constraint, start.dim() - constraint.event_dim)
        super().__init__(whole, torch.Size(), start.shape)
        self.start = start

    @property
    def mean(self) -> Tensor:
        """The start, as what stands in the middle of a prior that has none."""
        return self.start

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The value at which the parameter starts."""
        return self.start.expand(torch.Size(sample_shape) + self.start.shape)
