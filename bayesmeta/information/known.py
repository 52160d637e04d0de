"""Entropy of sites whose density is known: -log p at the draws, and what is left of it on average.

    H(x_1, ..., x_m) = sum_s H(x_s | its parents)     (Cover & Thomas 2006, theorem 2.2.1)

for sites of a prior with all that they read; where a family has its entropy in closed form, that
takes the place of -log p of its draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.draws.at_draws import at_draws
from bayesmeta.information.points import points_of
from bayesmeta.information.sites import LATENT, behind
from bayesmeta.model.checks import DATA, TASKS, plate_names
from bayesmeta.model.density import Density
from bayesmeta.model.structure import Structure
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.sites import Site, seen

_LIBRARIES = ("torch", "pyro")
_FLAT = "flat"


def surprises(posterior: Posterior, names: Sequence[str]) -> list[Tensor] | None:
    """Terms of H(names), one a draw, task by task, or for all; None where no density is known.

    Known are those of a prior, where all that the sites read is among them, and the q(theta) that
    was fitted, for all of theta.
    """
    if posterior.fit.is_prior:
        return _of_prior(posterior, names)
    if posterior.fit.log_q is not None and set(names) == set(posterior.structure.theta):
        return _of_fitted(posterior, names)
    return None


def surprise(
    density: Density, names: Sequence[str], theta: Tensor, phi: Tensor, tasks: Tasks
) -> Tensor:
    """Terms of H(names) at theta and phi, (tasks,): entropies given parents, or -log densities.

    Args:
        density: whose sites they are, centred.
        names: latent sites.
        theta: unconstrained, (d_theta,).
        phi: unconstrained, with the values of discrete latents, (tasks, width and columns).
        tasks: whose they are; y is not read.
    """
    sites = density.sites(theta, phi, tasks, jacobian=False)
    total = tasks.mask.new_zeros(tasks.num_tasks, dtype=tasks.dtype)
    for name in names:
        site = sites[name]
        terms = _of_site(site)
        if TASKS not in plate_names(site):
            total = total + terms.sum()
            continue
        if DATA in plate_names(site):
            terms = torch.where(tasks.mask, terms, 0.0)
        total = total + terms.sum(-1).reshape(-1, tasks.num_tasks).sum(0)
    return total


def _of_prior(posterior: Posterior, names: Sequence[str]) -> list[Tensor] | None:
    density, tasks, theta = posterior.density, posterior.tasks, posterior.fit.theta
    phi = torch.cat([posterior.free_phi, posterior.draws.states], -1)
    with torch.no_grad():
        sites = density.sites(theta[0, 0], phi[0, 0], tasks, jacobian=False)
    if not _is_closed(posterior.structure, names) or any(_is_handled(sites[n]) for n in names):
        return None

    def at(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor]:
        return (surprise(density, names, theta, phi, tasks),)

    (found,) = at_draws(at, theta, phi, tasks)
    return list(found.flatten(0, 1).T)


def _is_closed(structure: Structure, names: Sequence[str]) -> bool:
    """Whether the names are latents with all that they read, but for constants."""
    read = set(names).union(*(behind(structure, name) for name in names))
    random = {name for name in read if structure.nodes[name].distribution != _FLAT}
    return random == set(names) and all(structure.nodes[n].role in LATENT for n in names)


def _is_handled(site: Site) -> bool:
    """Whether a handler scales or masks a site: its draws do not know of that."""
    is_scaled = isinstance(site.scale, Tensor) or site.scale != 1
    return is_scaled or seen(site) is not None


def _of_fitted(posterior: Posterior, names: Sequence[str]) -> list[Tensor] | None:
    if set(names) & set(posterior.density.noncentred):
        return None
    log_q = posterior.fit.log_q
    assert log_q is not None
    stretch = sum(site[0].stretch for site in points_of(posterior, names))
    return [torch.as_tensor(stretch).to(log_q) - log_q.flatten()]


def _of_site(site: Site) -> Tensor:
    """H of what a site is drawn from, or -log of its density at the draw, in its batch shape."""
    fn, base = site.fn, base_distribution(site.fn)
    if type(base).__module__.split(".")[0] in _LIBRARIES:
        try:
            found: Tensor = fn.entropy()
            return found
        except NotImplementedError:
            pass
    return -site.plain
