"""Sites: the statements of a model as they ran, and how values are chosen for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to


@dataclass(frozen=True)
class Plate:
    """One plate around a site: its name, its batch dimension (negative) and its size."""

    name: str
    dim: int
    size: int


@dataclass(frozen=True)
class Choice:
    """A value for a site, and its log density where the chooser knows it better than the site.

    Attributes:
        value: the site's.
        log_prob: the log density of the unconstrained number behind the value.
        jacobian: what of that is no density of the value, log |dx/du|: handlers around a site, as
            `poutine.scale`, act on its density alone.
        there: of a latent that is one a datapoint, where there is one, (tasks, data).
        idle: its log density elsewhere, and where a handler masks cells.
    """

    value: Tensor
    log_prob: Tensor | None = None
    jacobian: Tensor | None = None
    there: Tensor | None = None
    idle: Tensor | None = None


Chooser = Callable[[str, Any], Choice | None]


@dataclass(frozen=True)
class Site:
    """One statement of the model as it ran: what it drew from, what it got, and in which plates.

    A `pyro.param` appears as a draw from an improper uniform on its constraint: a flat prior.

    Attributes:
        log_prob: as handlers around it, such as `poutine.mask`, scale and mask it.
        plain: the same before they do.
        scale, mask: by what they do.
        provenance, columns: in a run that follows values, the sites and the columns of x that the
            density was computed from.
        doubtful: those of both that were put into one tensor with others, of which it may have read
            another part.
        has_left: in such a run, whether the value became a number of Python or an array, and was
            followed no further.
        there: of a latent that was chosen and is one a datapoint, where it is; it has the shape of
            the log density.
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
    plain: Tensor
    scale: Tensor | float
    mask: Tensor | bool | None
    there: Tensor | None = None
    columns: frozenset[str] = frozenset()
    doubtful: frozenset[Any] = frozenset()
    has_left: bool = False


def seen(site: Site) -> Tensor | None:
    """Where a site is not masked, by a handler or by its own distribution; None is everywhere.

    It broadcasts to the site's batch shape.
    """
    masks = [m for m in (site.mask, own_mask(site.fn)) if m is not None and m is not True]
    if not masks:
        return None
    whole = torch.ones((), dtype=torch.bool, device=site.plain.device)
    for mask in masks:
        whole = whole & torch.as_tensor(mask, device=site.plain.device)
    return whole


def own_mask(fn: Any) -> Tensor | bool | None:
    """Where a distribution has a density of its own, and not 1 by `mask`; None is everywhere."""
    if isinstance(fn, dist.MaskedDistribution):
        mask: Tensor | bool = fn._mask
        return mask
    if not isinstance(fn, torch.distributions.Independent):
        return None
    inner, ndims = own_mask(fn.base_dist), fn.reinterpreted_batch_ndims
    return inner.flatten(-ndims).any(-1) if isinstance(inner, Tensor) and ndims else inner


class SiteNameError(ValueError):
    """Two statements of the model share a name."""


class PlateError(ValueError):
    """A plate has no size, or a subsample of its own."""


class SiteShapeError(ValueError):
    """The value of a site does not fit its plates and distribution."""


class FlatPrior(dist.ImproperUniform):
    """A density of 1 on a support, with a start in it as the draw.

    What a `pyro.param` is drawn from, and a `dist.ImproperUniform` as it is run here.

    Args:
        support: of the whole value.
        start: a value.
        batch_shape: how the start's shape begins.
        statement: what it stands for.
    """

    def __init__(
        self, support: Any, start: Tensor, batch_shape: Sequence[int] = (), statement: str = ""
    ) -> None:
        batch = torch.Size(batch_shape)
        super().__init__(support, batch, start.shape[len(batch) :])
        self.start, self.statement = start, statement

    @property
    def mean(self) -> Tensor:
        """The start, as what stands in the middle of a prior that has none."""
        return self.start

    @property
    def stddev(self) -> Tensor:
        """One, as there is no unit in it."""
        return torch.ones_like(self.start)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The start."""
        return self.start.expand(torch.Size(sample_shape) + self.start.shape)


def flat_param(constraint: Any, start: Tensor) -> FlatPrior:
    """The flat prior of a `pyro.param`, all of whose dimensions make one event."""
    whole = dist.constraints.independent(constraint, start.dim() - constraint.event_dim)
    return FlatPrior(whole, start, statement="pyro.param")


def flat_site(fn: dist.ImproperUniform) -> FlatPrior:
    """The flat prior of a site, with the middle of the unconstrained scale as its start."""
    transform = biject_to(fn.support)
    shape = transform.inverse_shape(fn.batch_shape + fn.event_shape)
    return FlatPrior(fn.support, transform(torch.zeros(shape)), fn.batch_shape, "ImproperUniform")
