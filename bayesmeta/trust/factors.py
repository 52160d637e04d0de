"""The factors of the joint density at each draw, by what they are in the hierarchy."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import in_chunks, joined, kept_by
from bayesmeta.draws.draws import Draws, where_the_tasks_are
from bayesmeta.draws.evidence import evidence, integral, places_evenly
from bayesmeta.influence.left_out import tasks_seen
from bayesmeta.model.checks import StructureError
from bayesmeta.posterior.log_priors import FLAT, log_priors
from bayesmeta.posterior.posterior import Posterior

HYPERPRIOR, EVIDENCE, POPULATION, LIKELIHOOD = "hyperprior", "evidence", "population", "likelihood"


class Factor(NamedTuple):
    """The logarithm of a factor at draws, (draws,), and which draws of all these are."""

    log_density: Tensor
    places: Tensor


def factors(posterior: Posterior) -> dict[str, Factor]:
    """Those that the model has, by role, in float64 on the CPU: see `sensitivity`."""
    draws, structure = posterior.draws, posterior.structure
    by_site = {n: x.flatten(0, 1) for n, x in log_priors(draws).items()}
    of_theta = [x for n, x in by_site.items() if n in structure.theta]
    of_phi = [x.sum(-1) for n, x in by_site.items() if n not in structure.theta]
    found = {HYPERPRIOR: _factor(torch.stack(of_theta).sum(0))}
    told = _evidence(draws) if structure.phi else None
    if told is not None:
        found[EVIDENCE] = _factor(*told)
    if of_phi:
        found[POPULATION] = _factor(torch.stack(of_phi).sum(0))
    return found | {LIKELIHOOD: _factor(_likelihood(draws))}


def _factor(log_density: Tensor, places: Tensor | None = None) -> Factor:
    """At these draws, or at all."""
    every = torch.arange(len(log_density)) if places is None else places
    return Factor(log_density.double().cpu(), every.cpu())


def check_scalable(posterior: Posterior) -> None:
    """Refuse a posterior that is no draws of p(theta, phi | D) of its own data.

    Raises:
        StructureError: for points, and a model without priors of theta.
        TasksError: for other data, or none.
    """
    structure, phi = posterior.structure, posterior.strategy
    if not structure.theta or all(structure.nodes[n].distribution == FLAT for n in structure.theta):
        none = "none with a prior" if structure.theta else "none"
        raise StructureError(
            f"sensitivity is about the prior of theta, of which the model has {none}; draw what "
            "all tasks share by pyro.sample outside of the plate 'tasks'"
        )
    if posterior.is_point:
        raise StructureError(
            "sensitivity weighs draws of theta, but theta is a point estimate; fit with "
            "theta=bm.NUTS() or theta=bm.Importance()"
        )
    if structure.phi and not (phi.is_joint or phi.draws_at_point > 1):
        raise StructureError(
            f"sensitivity weighs draws of phi, but phi=bm.{type(phi).__name__}() gives a point for "
            "each theta; fit with phi=bm.Joint(), phi=bm.Exact() or phi=bm.Laplace()"
        )
    _check_tasks(posterior)


def _check_tasks(posterior: Posterior) -> None:
    learned = posterior.fit.learned_from
    if learned is None or learned.tasks is None:
        raise TasksError(
            "sensitivity got a posterior without the data that theta was fitted to, as one that "
            "was loaded or drawn from the prior; give what bm.fit returned"
        )
    if learned.tasks.query is not None:
        raise TasksError(
            "theta was fitted to the query of its tasks, by another objective than p(theta, D); "
            "fit to tasks without a query"
        )
    known, own = learned.tasks, posterior.tasks
    is_seen = tasks_seen(posterior) | (own.sizes.cpu() == 0)
    if not bool(is_seen.all()) or int(known.mask.sum()) != int(own.mask.sum()):
        raise TasksError(
            "the posterior holds other tasks than theta was fitted to, as after adapt; give what "
            "bm.fit returned"
        )


@where_the_tasks_are
def _evidence(draws: Draws) -> tuple[Tensor, Tensor] | None:
    """sum_i log p(D_i | theta) at some draws, and which; None where phi is not integrated out."""
    density, tasks, theta = draws.centred, draws.tasks, draws.fit.theta.flatten(0, 1)
    try:
        way = integral(density, tasks, "sensitivity")
    except StructureError:
        return None
    places = places_evenly(len(theta))
    return evidence(density, way, theta[places], tasks).sum(1), places


@where_the_tasks_are
def _likelihood(draws: Draws) -> Tensor:
    """log p(D | phi, theta) as the model weighs it, discrete latents summed out, (draws,)."""
    density = draws.density

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        return (density.log_likelihood(theta, free, given),)

    over = kept_by(density, "weighted likelihood")
    outputs = in_chunks(over, at, draws.fit.theta, draws.free_phi, draws.tasks)
    return joined([values for (values,) in outputs]).sum(-1).flatten()
