"""p(theta) and p(phi | theta) of a density: draws, and the middles and widths to start from."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.samplers import draw
from bayesmeta.distributions.supports import bijection
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checks import StructureError, distribution_name
from bayesmeta.model.density import Density
from bayesmeta.model.flat_vectors import assemble
from bayesmeta.model.location_scale import is_identity, median
from bayesmeta.running.isolation import isolated


def draw_prior(density: Density, tasks: Tasks) -> tuple[Tensor, Tensor]:
    """One draw of unconstrained theta and phi from the prior, from the current random state."""
    return density.collect(lambda name, fn: draw(fn), tasks, {})


def draw_prior_states(density: Density, tasks: Tasks) -> tuple[Tensor, Tensor, Tensor]:
    """As `draw_prior`, with the joint values of discrete latents that were drawn with them."""
    parts, summed = dict[str, Tensor](), density.reading.summed
    theta, phi = density.collect(lambda name, fn: draw(fn), tasks, parts)
    if summed is None:
        return theta, phi, phi[:, :0]
    return theta, phi, summed.columns(parts, tasks.num_data).to(phi.dtype)


def draw_prior_phi(density: Density, theta: Tensor, tasks: Tasks) -> Tensor:
    """One draw of unconstrained phi (tasks, width) from p(phi | theta); y is not read."""
    return draw_prior_phi_states(density, theta, tasks)[0]


def draw_prior_phi_states(density: Density, theta: Tensor, tasks: Tasks) -> tuple[Tensor, Tensor]:
    """As `draw_prior_phi`, with the joint values of discrete latents that were drawn with it."""
    parts, summed = dict[str, Tensor](), density.reading.summed

    def drawn(name: str, fn: Any) -> Tensor:
        if density.segments[name].is_phi:
            return draw(fn)
        return density.value(name, fn, density.segments[name].unflatten(theta))

    phi = density.collect(drawn, tasks, parts)[1]
    if summed is None:
        return phi, phi[:, :0]
    return phi, summed.columns(parts, tasks.num_data).to(phi.dtype)


def theta_start(density: Density, tasks: Tasks) -> Tensor:
    """Unconstrained theta (d_theta,) to start from: the density's own start, or the prior's means.

    A parameter is at its own start, a site without a mean at its median, and at 0 on the
    unconstrained scale where it has neither.
    """
    if density.start is not None:
        return density.start[0].to(tasks.device, tasks.dtype, copy=True)
    with isolated(seed=0), torch.no_grad():
        return density.collect(partial(_start, density), tasks.sample())[0].clone()


def theta_sd(density: Density, tasks: Tasks) -> Tensor:
    """The units of theta (d_theta,): the density's own, or the sd of each coordinate's prior.

    A site without a finite sd (Cauchy) has its scale instead. It is 1 where a site is not real, as
    a scale, whose unit is a factor e, and where it has no prior.
    """
    if density.start is not None:
        return density.start[1].to(tasks.device, tasks.dtype)
    units = {}

    def noted(name: str, fn: Any) -> Tensor:
        is_own = name not in density.noncentred and is_identity(bijection(fn))
        if not density.segments[name].is_phi and is_own:
            with suppress(NotImplementedError):
                sd = _sd(density, name, fn)
                units[name] = density.segments[name].flatten(sd.nan_to_num(1.0, posinf=1.0))
        return _start(density, name, fn)

    with isolated(seed=0), torch.no_grad():
        found = torch.ones_like(density.collect(noted, tasks.sample())[0])
        for name, sd in units.items():
            segment = density.segments[name]
            found[segment.start : segment.stop] = sd
    return found


def prior_mean(density: Density, theta: Tensor, tasks: Tasks) -> Tensor:
    """The mean of p(phi | theta), unconstrained, of shape (tasks, width).

    A site without a finite mean (Cauchy) has its median instead.

    Raises:
        StructureError: where a site has neither.
    """

    def mean(name: str, fn: Any) -> Tensor:
        if density.segments[name].is_phi:
            return _middle(density, name, fn)
        return density.value(name, fn, density.segments[name].unflatten(theta))

    return density.collect(mean, tasks)[1]


def prior_sd(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    """The sd of p(phi | theta) where phi is real, (tasks, width); 1 elsewhere.

    A site without a finite sd (Cauchy) has its scale instead. Where a phi site depends on
    another, it is that at the phi given.
    """
    parts, sites = {}, density.sites(theta, phi, tasks, jacobian=False)
    summed = density.reading.summed
    log_probs = [sites[n].log_prob for n in (() if summed is None else summed.of_tasks)]
    for name, segment in density.segments.items():
        if not segment.is_phi:
            continue
        fn, sd = sites[name].fn, segment.unflatten(torch.ones_like(phi))
        if name not in density.scored and is_identity(bijection(fn)):
            sd = _sd(density, name, fn)
            middle = _middle(density, name, fn)
            about = middle - density.averaged(name, middle, log_probs)
            square = density.averaged(name, sd.square() + about.square(), log_probs)
            sd = square.sqrt() if square.shape != sd.shape else sd
        parts[name] = segment.flatten(sd)
    return assemble(density.segments, parts, tasks)[1]


def redraw_local(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    """phi (tasks, width) with local latents drawn from p(. | phi, theta), of what begins as phi.

    Args:
        density, tasks: whose datapoints they are; y is not read.
        theta: unconstrained, (d_theta,).
        phi: of which the numbers of the tasks are kept, (tasks, d_phi or more).
    """
    segments = density.segments

    def value_of(name: str, fn: Any) -> Tensor:
        segment = segments[name]
        if segment.rows is not None:
            return draw(fn)
        u = segment.unflatten(phi if segment.is_phi else theta)
        return density.value(name, fn, u)

    return density.collect(value_of, tasks)[1]


def _start(density: Density, name: str, fn: Any) -> Tensor:
    whole = fn.batch_shape + fn.event_shape
    try:
        return _middle(density, name, fn).expand(whole)
    except StructureError:
        support = bijection(fn)
        return support(torch.zeros(support.inverse_shape(whole)))


def _sd(density: Density, name: str, fn: Any) -> Tensor:
    base = base_distribution(fn)
    sd: Tensor = base.scale if name in density.without_mean else fn.stddev
    return sd.expand(fn.batch_shape + fn.event_shape)


def _middle(density: Density, name: str, fn: Any) -> Tensor:
    if name in density.scored:
        shape = bijection(fn).inverse_shape(fn.batch_shape + fn.event_shape)
        return density.value(name, fn, torch.zeros(shape))
    try:
        return median(fn) if name in density.without_mean else fn.mean
    except NotImplementedError:
        raise StructureError(
            f"site '{name}' ({distribution_name(fn)}) has no finite mean and no quantiles, so "
            "there is no point to start from; choose another family"
        ) from None
