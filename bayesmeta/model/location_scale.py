"""Location-scale sites x = loc + scale * u: which they are, and how they are noncentred."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bayesmeta.distributions.supports import bijection
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checks import StructureError, distribution_name
from bayesmeta.model.structure import Structure
from bayesmeta.running.sites import Choice


def is_identity(transform: Any) -> bool:
    """Whether the transform leaves values as they are."""
    while hasattr(transform, "base_transform"):
        transform = transform.base_transform
    return transform == torch.distributions.transforms.identity_transform


def place_noncentred(fn: Any, u: Tensor) -> Choice:
    """loc + scale * u, with the density of u: that of the same family at loc 0, scale 1."""
    base = base_distribution(fn)
    value = base.loc + base.scale * u
    given = {name: getattr(base, name) for name in base.arg_constraints}
    standard = type(base)(**{**given, "loc": torch.zeros_like(u), "scale": torch.ones_like(u)})
    log_prob = standard.log_prob(u)
    jacobian = base.scale.log().expand(log_prob.shape)
    for _ in range(len(fn.event_shape)):
        log_prob, jacobian = log_prob.sum(-1), jacobian.sum(-1)
    return Choice(value, log_prob, jacobian)


def has_mean(fn: Any) -> bool:
    """Whether the distribution has a finite mean, as the Cauchy has not."""
    try:
        return bool(torch.isfinite(fn.mean).all())
    except NotImplementedError:
        return False


def median(fn: Any) -> Tensor:
    """The median of each coordinate of a distribution.

    Raises:
        NotImplementedError: where the family has no quantiles.
    """
    base = base_distribution(fn)
    half = torch.full(base.batch_shape, 0.5)
    return base.icdf(half).expand(fn.batch_shape + fn.event_shape)


def check_noncentred(name: str, structure: Structure, drawn_from: Mapping[str, Any]) -> None:
    """Refuse to noncentre a site that is no latent or has no loc and scale.

    Raises:
        StructureError: naming the site and what to give instead.
    """
    latent = (*structure.theta, *structure.phi, *structure.local)
    if name not in latent:
        raise StructureError(
            f"noncentred names '{name}', which is no latent site; these are {', '.join(latent)}"
        )
    if not is_location_scale(drawn_from[name]):
        raise StructureError(
            f"noncentred names '{name}', but {distribution_name(drawn_from[name])} has no loc and "
            "scale to pull out; leave it out of noncentred, or write it noncentred in the model: "
            "draw z from a standard normal and use loc + L @ z"
        )


def is_location_scale(fn: Any) -> bool:
    """Whether x = loc + scale * u with u of the same family at loc 0, scale 1."""
    constraints = getattr(base_distribution(fn), "arg_constraints", {})
    return (
        {"loc", "scale"} <= set(constraints)
        and fn.support.event_dim == len(fn.event_shape)
        and is_identity(bijection(fn))
    )
