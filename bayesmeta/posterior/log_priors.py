"""What the priors say of each draw, site by site, and the draws on the unconstrained scale."""

from __future__ import annotations

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import in_chunks, joined, kept_by
from bayesmeta.draws.draws import Draws, where_the_tasks_are
from bayesmeta.running.sites import Site

FLAT = "flat"


@where_the_tasks_are
def log_priors(draws: Draws) -> dict[str, Tensor]:
    """log p(value | parents) of each latent site with a prior, at each draw.

    It is the density of the value itself, on its own scale and without a Jacobian, as weighted and
    masked in the model: of theta (chain, draw), log p(theta); of phi (chain, draw, tasks),
    log p(phi_i | theta), summed over the site's own dimensions and further plates; of latents in
    the plate "data" (chain, draw, tasks), summed over those that are there. Where the model has
    discrete latents of tasks, they are among these, at the values that are drawn, on which phi
    is conditioned; those of datapoints are summed out of the likelihood. Sites with flat priors
    are left out.
    """
    density, structure, summed = draws.density, draws.structure, draws.density.reading.summed
    discrete = () if summed is None else tuple(summed.of_tasks)
    named = (*structure.theta, *discrete, *structure.phi, *structure.local)
    names = [n for n in named if structure.nodes[n].distribution != FLAT]
    if not names:
        return {}

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
        sites = density.sites(theta, free, given, jacobian=False)
        return tuple(
            _summed(sites[n], n in density.noncentred, n not in structure.theta) for n in names
        )

    phi = torch.cat([draws.free_phi, draws.states[..., :1]], -1) if discrete else draws.free_phi
    over = kept_by(density, ("log priors", tuple(names)))
    outputs = zip(*in_chunks(over, at, draws.fit.theta, phi, draws.tasks), strict=True)
    return {
        name: chunks[0] if name in structure.theta else joined(chunks)
        for name, chunks in zip(names, outputs, strict=True)
    }


@where_the_tasks_are
def unconstrained(draws: Draws) -> dict[str, Tensor]:
    """Draws of theta (chain, draw, ...) and phi (chain, draw, tasks, ...) as free real numbers.

    A site x = T(u) is u there, as T = exp for positive numbers, however it was sampled. Latents of
    datapoints are left out.
    """
    density, found = draws.density, {}
    for name in (*draws.structure.theta, *draws.structure.phi):
        if name in density.noncentred:
            # Of a site with loc and scale, whose support is all reals.
            found[name] = draws.values[name]
            continue
        segment = density.segments[name]
        flat = draws.free_phi if segment.is_phi else draws.fit.theta
        block = flat[..., segment.start : segment.stop]
        free = block.reshape(*block.shape[:-1], *segment.shape)
        # Of the plate "data", in which phi is not, a dimension of size 1 is left.
        found[name] = free.squeeze(3 + segment.axis) if segment.is_phi else free
    return found


def _summed(site: Site, is_noncentred: bool, is_by_task: bool) -> Tensor:
    """The log density of a site's value, () or (tasks,)."""
    found = site.log_prob
    if is_noncentred:
        # What was recorded is the density of u, where the value is loc + scale * u.
        found = scale_and_mask(site.fn.log_prob(site.value), site.scale, site.mask)
    if site.there is not None:
        found = torch.where(site.there, found, 0.0)
    if not is_by_task:
        return found.sum()
    by_task = found.sum(-1)
    return by_task.flatten(0, -2).sum(0) if by_task.dim() > 1 else by_task
