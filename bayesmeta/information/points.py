"""Draws of sites as points: on the scale on which they are real numbers, and the way from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.supports import bijection
from bayesmeta.draws.at_draws import at_draws
from bayesmeta.information.nearest_neighbours import Array
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.sites import Site


class Points(NamedTuple):
    """The draws of a site of one task, or of all together.

    Attributes:
        real: on the scale of real numbers, (draws, numbers).
        stretch: log |dx/du| of the way from there to the site, (draws,).
    """

    real: Array
    stretch: Array


def points_of(posterior: Posterior, names: Sequence[str]) -> list[list[Points]]:
    """Of each site its draws, task by task, or those of one for all: chain after chain."""
    latent = [name for name in names if name in posterior.density.segments]
    found = _of_latents(posterior, latent) if latent else {}
    return [found[n] if n in found else _of_values(posterior, n) for n in names]


def _of_latents(posterior: Posterior, names: Sequence[str]) -> dict[str, list[Points]]:
    density, width = posterior.density, 4

    def at(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor, ...]:
        sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
        found = (_ways(density, name, sites[name], theta, phi, tasks) for name in names)
        return tuple(part for parts in found for part in parts)

    # With the values of discrete latents, on which others may depend.
    phi = torch.cat([posterior.free_phi, posterior.draws.states], -1)
    flat = [_by_task(x) for x in at_draws(at, posterior.fit.theta, phi, posterior.tasks)]
    each = [flat[i : i + width] for i in range(0, len(flat), width)]
    return {
        name: [_points(*task) for task in zip(*parts, strict=True)]
        for name, parts in zip(names, each, strict=True)
    }


def _ways(
    density: Density, name: str, site: Site, theta: Tensor, phi: Tensor, tasks: Tasks
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A site's real numbers, log |dx/du|, value, and where zero leads: (tasks or 1, numbers).

    What is of no datapoint is NaN, but for the stretch, which is zero.
    """
    segment = density.segments[name]
    u = segment.unflatten(phi if segment.is_phi else theta)
    if name in density.noncentred:
        # Its own scale is that of real numbers already.
        u, stretch, start = site.value, torch.zeros_like(u), torch.zeros_like(u)
    else:
        transform = bijection(site.fn)
        stretch = transform.log_abs_det_jacobian(u, site.value)
        start = transform(torch.zeros_like(u))

    def rows(value: Tensor, idle: float) -> Tensor:
        if segment.rows is None:
            return segment.publish(value).reshape(tasks.num_tasks if segment.is_phi else 1, -1)
        value = segment.publish(value).reshape(*tasks.mask.shape, -1)
        there = tasks.mask if site.there is None else site.there
        return torch.where(there.reshape(*there.shape, 1), value, idle).flatten(1)

    found = (rows(x, torch.nan) for x in (u, site.value, start))
    real, value, origin = found
    return real, rows(stretch, 0.0), value, origin


def _points(real: Array, stretch: Array, value: Array, origin: Array) -> Points:
    """Points where the way is the same at all draws; elsewhere of the values as they are."""
    if not np.array_equal(origin, np.broadcast_to(origin[0], origin.shape), equal_nan=True):
        return _plain(value)
    return Points(_there(real), stretch.sum(1))


def _of_values(posterior: Posterior, name: str) -> list[Points]:
    """Of computed and discrete sites."""
    known = posterior.phi | posterior.theta
    if name not in known:
        raise StructureError(
            f"'{name}' is computed from the tasks' data, which this posterior does not hold; adapt "
            "to tasks first"
        )
    draws: Tensor = known[name]
    is_by_task = posterior.structure.nodes[name].is_by_task
    whole = draws if is_by_task else draws.unsqueeze(2)
    values = _by_task(whole.flatten(3) if whole.dim() > 3 else whole.unsqueeze(3))
    return [_plain(task) for task in values]


def _plain(values: Array) -> Points:
    """Values as they are, and of positive ones the logarithm, in which no float is too small."""
    values = _there(values)
    if values.size and (values > 0).all():
        logs = np.log(values)
        return Points(logs, logs.sum(1))
    return Points(values, np.zeros(len(values)))


def _there(values: Array) -> Array:
    """Without the columns of no datapoint."""
    return values[:, ~np.isnan(values).all(0)]


def _by_task(draws: Tensor) -> Array:
    """(chain, draw, tasks, numbers) to (tasks, chain * draw, numbers)."""
    return np.asarray(draws.flatten(0, 1).movedim(1, 0).detach().double().cpu().numpy())
