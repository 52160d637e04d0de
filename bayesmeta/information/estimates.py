"""Entropy and mutual information of theta and phi, in nats, with their Monte Carlo errors.

    prior = bm.prior(model, tasks, draws=20_000)
    bm.information.entropy(prior, "phi")                    # H(phi_i): what is not known of phi_i
    bm.information.conditional_entropy(prior)               # H(phi_i | theta): once theta is known
    bm.information.mutual_information(prior, "phi", "theta")     # the difference: I(phi_i; theta)

A posterior in the place of the prior gives the same given the data. The entropy of a continuous
variable depends on its units and may be negative; mutual information does not, and may not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import random_at_draws
from bayesmeta.engine.noise import on_device
from bayesmeta.information.errors import Found, by_mean
from bayesmeta.information.known import surprise
from bayesmeta.information.nearest_neighbours import RepeatedError
from bayesmeta.information.routes import entropies, informations
from bayesmeta.information.sites import Sites, check_free, check_together, names_of
from bayesmeta.model.checks import DATA, TASKS, StructureError
from bayesmeta.model.prior import draw_prior_phi
from bayesmeta.model.structure import Role
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.isolation import isolated, undisturbed

_FEWEST = 25


class Estimate(NamedTuple):
    """A number of nats and its standard error, of few draws and of what the method may be off.

    Both are () of theta, and (tasks,) where phi is.
    """

    value: Tensor
    error: Tensor


@undisturbed()
def entropy(posterior: Posterior, sites: Sites, *, k: int = 3) -> Estimate:
    """H(sites) = -E[log p(sites | D)] in nats.

    Where theta is a point, phi's is that given theta. Computed sites have one as others do. Where
    the density is known it is averaged: of sites of `bm.prior(...)` with all that they read, and of
    all theta together where a q(theta) was fitted. Of discrete sites the shares of their states
    are. Elsewhere distances between the draws tell (Kozachenko & Leonenko 1987), on the scale on
    which the sites are real numbers, and less what they are off for normal draws.

    Args:
        posterior: a fit, what it adapted to, or `bm.prior(...)`.
        sites: a site, or several whose joint entropy is meant; on the scale that they have in the
            model. "theta" and "phi" are all latents of a level, where no site has that name.
        k: which neighbour: more make it steadier, and less local.

    Raises:
        StructureError: for an unknown site, a theta that is a point, a site without a density in
            the numbers it has, such as a simplex, sites that are computed from each other, discrete
            ones beside others, and more numbers than distances tell of: 16, or 10 where they are
            far from normal.
        ValueError: where there are fewer than 25 (k + 1) draws, or 25 for each number (100, of more
            than ten), they are not finite, or more than half of them repeat others.
    """
    names = _given("entropy", posterior, sites, k=k)
    check_free(posterior, names)
    return _estimate(posterior, names, lambda: entropies(posterior, names, k))


@undisturbed()
def mutual_information(posterior: Posterior, one: Sites, other: Sites, *, k: int = 3) -> Estimate:
    """I(one; other) = H(one) + H(other) - H(one, other) from the draws.

    What one tells of the other: 0 where they are independent. Where these densities are known, as
    of `entropy`, they are averaged. Elsewhere it is by distances between draws, of which only the
    order in each number counts, so that one-to-one maps of it change nothing.

    Args:
        posterior: a fit, what it adapted to, or `bm.prior(...)`.
        one, other: a site each, or several together: `mutual_information(prior, "phi", "theta")`.
        k: which neighbour.

    Raises:
        StructureError: as for `entropy`, and where a site is on both sides.
        ValueError: as for `entropy`.
    """
    first = _given("mutual_information", posterior, one, k=k)
    second = _given("mutual_information", posterior, other, k=k)
    if shared := set(first) & set(second):
        raise StructureError(
            f"{', '.join(sorted(shared))} is on both sides, and what a continuous site tells of "
            "itself is infinite; give different sites"
        )
    check_together(posterior.structure, first + second)
    return _estimate(posterior, first + second, lambda: informations(posterior, first, second, k))


@undisturbed()
def conditional_entropy(posterior: Posterior, *, repeats: int = 1, seed: int = 0) -> Estimate:
    """H(phi_new | theta): what theta leaves open of the phi of a new task, by the model's density.

        -E[log p(phi | theta)],   theta ~ p(theta | D),  phi ~ p(phi | theta)

    phi is drawn anew at each draw of theta, without the tasks' outcomes: it is the phi of a task
    with the same columns of which no datapoint has been seen. On average H(phi | theta) <= H(phi)
    (Cover & Thomas 2006, theorem 2.6.5). All continuous phi sites are meant together, and none of
    the latents of datapoints. A family's own entropy takes the place of -log p where it is known.

    Args:
        posterior: a fit or `bm.prior(...)`; theta may be a point.
        repeats: draws of phi at each draw of theta; many are for point estimates.
        seed: the source of randomness.

    Returns:
        One value a task, (tasks,): tasks differ where phi depends on their columns.

    Raises:
        StructureError: where the model has no phi, or a factor in the plate "tasks", which leaves
            p(phi | theta) without its constant.
        ValueError: where there are fewer than 25 draws in all.
    """
    check_whole("conditional_entropy", "repeats", repeats)
    check_seed("conditional_entropy", seed)
    _check_density(posterior)
    tasks, names = posterior.tasks, posterior.structure.phi
    theta = posterior.fit.theta.repeat_interleave(repeats, dim=1)
    _check_count(theta.shape[:2].numel(), _FEWEST, "conditional_entropy(repeats=1000)")
    density = posterior.density.centre_phi()
    summed = density.reading.summed

    def at(point: Tensor, nothing: Tensor, given: Tasks) -> tuple[Tensor]:
        phi = draw_prior_phi(density, point, given)
        if summed is not None:
            return (-density.terms(point, phi, given, jacobian=False).phi,)
        return (surprise(density, names, point, phi, given),)

    with isolated(seed), on_device(tasks.device):
        nothing = theta.new_empty(*theta.shape[:2], 0)
        (found,) = random_at_draws(at, theta, nothing, tasks)
    terms = found.flatten(0, 1).T
    return _estimate(posterior, names, lambda: [by_mean(task) for task in terms])


def _given(function: str, posterior: Posterior, sites: Sites, *, k: int) -> tuple[str, ...]:
    """The names of sites that have an entropy together."""
    check_whole(function, "k", k)
    if k < 1:
        raise ValueError(f"k={k} is no neighbour to look for; give at least 1, such as 3")
    names = names_of(posterior, sites)
    check_together(posterior.structure, names)
    least = _FEWEST * (k + 1)
    _check_count(posterior.fit.theta.shape[:2].numel(), least, "a strategy that gives more")
    return names


def _estimate(
    posterior: Posterior, names: tuple[str, ...], found: Callable[[], list[Found]]
) -> Estimate:
    """What was found task by task, or once where no site is of tasks."""
    try:
        each = found()
    except RepeatedError as error:
        raise ValueError(
            f"the draws of {', '.join(names)} have no density: {error}. A point estimate of phi, "
            "a sampler that is stuck, a computed site of few values and floats that are too coarse "
            "give such draws; look at posterior.diagnose(), and give tasks in float64"
        ) from None
    is_by_task = any(posterior.structure.nodes[name].is_by_task for name in names)
    values, errors = torch.tensor(each, dtype=torch.float64).T
    return Estimate(values, errors) if is_by_task else Estimate(values[0], errors[0])


def _check_count(draws: int, least: int, remedy: str) -> None:
    if draws < least:
        raise ValueError(
            f"there are {draws} draws, and at least {least} are needed to estimate this entropy; "
            f"use {remedy}"
        )


def _check_density(posterior: Posterior) -> None:
    structure = posterior.structure
    if not structure.phi:
        raise StructureError("the model has no phi, so there is no H(phi | theta)")
    for name, node in structure.nodes.items():
        plates = {plate.name for plate in node.plates}
        if node.role is Role.FACTOR and TASKS in plates and DATA not in plates:
            raise StructureError(
                f"the factor '{name}' in the plate '{TASKS}' leaves p(phi | theta) without its "
                "constant, so that its entropy is not known; use entropy() on draws"
            )
