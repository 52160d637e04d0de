"""Supports of distributions: their edges, the way onto them, and densities that are zero outside.

While a density runs nothing is validated, and what `support` says of a `TransformedDistribution` is
where its last transform may lead, not where it does: of 2 + Exponential, all real numbers.
"""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import Tensor
from torch.distributions import (
    Independent,
    MixtureSameFamily,
    Multinomial,
    Transform,
    TransformedDistribution,
    biject_to,
)
from torch.distributions.constraints import Constraint, is_dependent, multinomial
from torch.distributions.transforms import ComposeTransform, IndependentTransform, _InverseTransform

# What a transform keeps at hand beside its parameters: its inverse, which leads back to it, and a
# value.
_KEPT = {"_inv", "_cached_x_y"}
_AROUND = (Independent, ExpandedDistribution, dist.MaskedDistribution)


def edges(fn: Any) -> list[Tensor]:
    """The tensors of which the edges of a support are made; none where the family has fixed ones.

    Of b + Exponential they are b; of exp(Normal(b, 1)) there are none.
    """
    if isinstance(fn, MixtureSameFamily):
        return edges(fn.component_distribution)
    if isinstance(fn, _AROUND):
        return edges(fn.base_dist)
    return _image(fn)[0] if _is_pushed(fn) else _tensors(fn.support)


def bijection(fn: Any) -> Transform:
    """The map of all real vectors onto the support: `biject_to(fn.support)` where that is right.

    Raises:
        NotImplementedError: where none is known, as onto several intervals.
    """
    if isinstance(fn, Independent):
        inner = bijection(fn.base_dist)
        is_own = isinstance(inner, ComposeTransform) and _is_pushed(_unwrapped(fn))
        if is_own:
            return IndependentTransform(inner, fn.reinterpreted_batch_ndims)
    elif isinstance(fn, _AROUND):
        return bijection(fn.base_dist)
    elif isinstance(fn, MixtureSameFamily) and not edges(fn):
        return bijection(fn.component_distribution)
    elif _is_pushed(fn) and not _image(fn)[1] and all(t.bijective for t in fn.transforms):
        return ComposeTransform([bijection(fn.base_dist), *fn.transforms])
    return biject_to(fn.support)


def within(fn: Any, value: Tensor) -> Tensor:
    """Whether values are in the support, in the batch shape of the value, or the fuller one of fn.

    A value of a transformed distribution is in it if what it comes from is in the base's.
    """
    batch = value.dim() - len(fn.event_shape)
    if len(fn.batch_shape) > batch:
        batch = len(fn.batch_shape)
        value = value.expand(torch.broadcast_shapes(fn.batch_shape + fn.event_shape, value.shape))
    if isinstance(fn, dist.MaskedDistribution):
        if isinstance(fn._mask, bool):
            return within(fn.base_dist, value) | (not fn._mask)
        return within(fn.base_dist, value) | ~fn._mask
    if isinstance(fn, MixtureSameFamily):
        return within(fn.component_distribution, fn._pad(value)).any(-1)
    if isinstance(fn, _AROUND):
        return _over_events(within(fn.base_dist, value), batch)
    if not _is_pushed(fn):
        if is_dependent(fn.support):
            return torch.ones(value.shape[:batch], dtype=torch.bool)
        inside = _over_events(fn.support.check(value), batch)
        if isinstance(fn.support, multinomial):
            # torch's check lets pass what adds up to less.
            inside = inside & (value.sum(-1) == fn.support.upper_bound)
        return inside
    inside = torch.ones((), dtype=torch.bool)
    for transform in reversed(fn.transforms):
        inside = inside & _over_events(transform.codomain.check(value), batch)
        value = transform.inv(value)
    return inside & _over_events(within(fn.base_dist, value), batch)


def log_prob_within(fn: Any, value: Tensor) -> Tensor:
    """fn.log_prob(value) in the support, and -inf, with a gradient of zero, outside of it."""
    if isinstance(fn, Independent):
        inner = log_prob_within(fn.base_dist, value)
        total: Tensor = sum_rightmost(inner, fn.reinterpreted_batch_ndims)
        return total
    if isinstance(fn, dist.MaskedDistribution) and not isinstance(fn._mask, bool):
        masked: Tensor = scale_and_mask(log_prob_within(fn.base_dist, value), mask=fn._mask)
        return masked
    if isinstance(fn, MixtureSameFamily):
        each = log_prob_within(fn.component_distribution, fn._pad(value))
        each = each + fn.mixture_distribution.logits.log_softmax(-1)
        inside = (each > -torch.inf).any(-1)
        # The gradient of a sum of nothing but zeros is NaN.
        found = torch.where(inside[..., None], each, 0.0).logsumexp(-1)
        return torch.where(inside, found, -torch.inf)
    inside = within(fn, value)
    if isinstance(fn, Multinomial):
        return torch.where(inside, _of_counts(fn, value), -torch.inf)
    # Where the value is outside, a derivative there may be NaN, which no mask takes away.
    choose = inside.reshape(*inside.shape, *[1] * len(fn.event_shape))
    found = fn.log_prob(torch.where(choose, value, _inner(fn, value)))
    return torch.where(inside, found, -torch.inf)


def has_own_density(fn: Any) -> bool:
    """Whether `log_prob_within` has a formula of its own: torch's Multinomial does not vmap."""
    return isinstance(_unwrapped(fn), Multinomial)


def _of_counts(fn: Any, value: Tensor) -> Tensor:
    """The Multinomial's log density; a class of chance zero that was not seen adds nothing."""
    powers = torch.where(value == 0, 0.0, value * fn.logits).sum(-1)
    ways = torch.lgamma(value.sum(-1) + 1) - torch.lgamma(value + 1).sum(-1)
    return ways + powers


def _inner(fn: Any, value: Tensor) -> Tensor:
    """Some values in the support; those given where there is no way onto it, as of counts."""
    try:
        transform = bijection(fn)
    except NotImplementedError:
        return value
    shape = transform.inverse_shape(fn.batch_shape + fn.event_shape)
    return transform(value.new_zeros(shape))


def _is_pushed(fn: Any) -> bool:
    """Whether it is a TransformedDistribution that does not say its support better than that."""
    general = TransformedDistribution.support
    return isinstance(fn, TransformedDistribution) and type(fn).support is general


def _unwrapped(fn: Any) -> Any:
    while isinstance(fn, _AROUND):
        fn = fn.base_dist
    return fn


def _image(fn: Any) -> tuple[list[Tensor], bool]:
    """The edges of a support, and whether it is all that `fn.support` says.

    Onto its whole domain a transform leads to its whole codomain, whatever its own parameters.
    """
    if not _is_pushed(fn):
        return edges(fn), not isinstance(fn, _AROUND) or _image(_unwrapped(fn))[1]
    found, is_whole = _image(fn.base_dist)
    reached = fn.base_dist.support
    for transform in _parts(fn.transforms):
        is_whole = is_whole and _equal(reached, transform.domain)
        own = _tensors(transform.codomain if is_whole else transform)
        found, reached = own if is_whole else [*found, *own], transform.codomain
    return found, is_whole


def _parts(transforms: list[Any]) -> list[Any]:
    flat = []
    for transform in transforms:
        is_composed = isinstance(transform, ComposeTransform)
        flat += _parts(transform.parts) if is_composed else [transform]
    return flat


def _equal(a: Constraint, b: Constraint) -> bool:
    """Whether two constraints are the same fixed set, however many dimensions make an event."""
    a, b = _of_one(a), _of_one(b)
    return type(a) is type(b) and not _tensors([a, b]) and vars(a) == vars(b)


def _of_one(constraint: Constraint) -> Constraint:
    while hasattr(constraint, "base_constraint"):
        constraint = constraint.base_constraint
    return constraint


def _tensors(holder: Any) -> list[Tensor]:
    """The tensors in a constraint or transform, and in those that it is made of."""
    if isinstance(holder, Tensor):
        return [holder]
    if isinstance(holder, list | tuple):
        return [tensor for part in holder for tensor in _tensors(part)]
    if isinstance(holder, torch.nn.Module):
        return list(holder.parameters())
    if isinstance(holder, _InverseTransform):
        return _tensors(holder._inv)
    if isinstance(holder, Constraint | Transform):
        return _tensors([part for name, part in vars(holder).items() if name not in _KEPT])
    return []


def _over_events(inside: Tensor, batch: int) -> Tensor:
    """Whether all entries of each event are inside: what is beyond the batch dimensions."""
    while inside.dim() > batch:
        inside = inside.all(-1)
    return inside
