"""Entropy and mutual information of theta and phi, in nats, with their Monte Carlo errors.

    prior = bm.prior(model, tasks, draws=20_000)
    bm.information.entropy(prior, "phi")                    # H(phi_i): what is not known of phi_i
    bm.information.conditional_entropy(prior)               # H(phi_i | theta): once theta is known
    bm.information.mutual_information(prior, "phi", "theta")     # the difference: I(phi_i; theta)

A posterior in the place of the prior gives the same given the data. The entropy of a continuous
variable depends on its units and may be negative; mutual information does not, and may not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import on_device
from bayesmeta.information.nearest_neighbours import (
    Array,
    RepeatedError,
    entropy_of,
    information_of,
    split_error,
)
from bayesmeta.model.checks import DATA, TASKS, StructureError
from bayesmeta.model.prior import draw_prior_phi
from bayesmeta.model.structure import Role
from bayesmeta.posterior.at_draws import random_at_draws
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.isolation import isolated, undisturbed

Sites = str | Sequence[str]

_FEWEST = 25


class Estimate(NamedTuple):
    """A number of nats and its Monte Carlo standard error: () of theta, (tasks,) where phi is."""

    value: Tensor
    error: Tensor


def entropy(posterior: Posterior, sites: Sites, *, k: int = 3) -> Estimate:
    """H(sites) = -E[log p(sites | D)] in nats, from distances between the draws.

    Where theta is a point, phi's is that given theta. The estimator (Kozachenko & Leonenko 1987)
    needs no density, and is consistent. Its bias, which the error does not hold, grows with
    dimension: 10,000 normal draws leave 0.01 nats in two and 0.05 in five.

    Args:
        posterior: a fit, what it adapted to, or `bm.prior(...)`.
        sites: a site, or several whose joint entropy is meant; on the scale that they have in the
            model.
        k: which neighbour: more make it steadier, and less local.

    Raises:
        StructureError: for an unknown site, a theta that is a point, or a site without a density in
            the numbers it has, such as a simplex.
        ValueError: where there are fewer than 25 (k + 1) draws, they are not finite, or more than
            half of them repeat others.
    """
    check_whole("entropy", "k", k)
    rows = _rows(posterior, sites)
    return _estimate(posterior, _names(sites), entropy_of, [(r,) for r in rows], k)


def mutual_information(posterior: Posterior, one: Sites, other: Sites, *, k: int = 3) -> Estimate:
    """I(one; other) = H(one) + H(other) - H(one, other) from the draws.

    What one tells of the other: 0 where they are independent. The estimator (Kraskov, Stoegbauer &
    Grassberger 2004) makes the biases of the three entropies cancel, best where the information is
    small; above log(draws) it cannot rise. Near 0, and near that, its error is up to a half too
    small.

    Args:
        posterior: a fit, what it adapted to, or `bm.prior(...)`.
        one, other: a site each, or several together: `mutual_information(prior, "phi", "theta")`.
        k: which neighbour.

    Raises:
        StructureError: as for `entropy`, and where a site is on both sides.
        ValueError: as for `entropy`.
    """
    check_whole("mutual_information", "k", k)
    shared = set(_names(one)) & set(_names(other))
    if shared:
        raise StructureError(
            f"{', '.join(sorted(shared))} is on both sides, and what a continuous site tells of "
            "itself is infinite; give different sites"
        )
    first, second = _rows(posterior, one), _rows(posterior, other)
    count = max(len(first), len(second))
    first, second = (np.broadcast_to(r, (count, *r.shape[1:])) for r in (first, second))
    names = _names(one) + _names(other)
    return _estimate(posterior, names, information_of, list(zip(first, second, strict=True)), k)


@undisturbed()
def conditional_entropy(posterior: Posterior, *, repeats: int = 1, seed: int = 0) -> Estimate:
    """H(phi_new | theta): what theta leaves open of the phi of a new task, by the model's density.

        -E[log p(phi | theta)],   theta ~ p(theta | D),  phi ~ p(phi | theta)

    phi is drawn anew at each draw of theta, without the tasks' outcomes: it is the phi of a task
    with the same columns of which no datapoint has been seen. On average H(phi | theta) <= H(phi)
    (Cover & Thomas 2006, theorem 2.6.5). All phi sites are meant together.

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
    tasks = posterior.tasks
    theta = posterior.fit.theta.repeat_interleave(repeats, dim=1)
    _check_count(theta.shape[:2].numel(), _FEWEST, "conditional_entropy(repeats=1000)")
    density = posterior.density.centre_phi()

    def surprise(point: Tensor, nothing: Tensor, given: Tasks) -> tuple[Tensor]:
        phi = draw_prior_phi(density, point, given)
        return (-density.terms(point, phi, given, jacobian=False).phi,)

    with isolated(seed), on_device(tasks.device):
        nothing = theta.new_empty(*theta.shape[:2], 0)
        (found,) = random_at_draws(surprise, theta, nothing, tasks)
    surprises = found.flatten(0, 1).T.double().cpu().numpy()
    return _by_parts(lambda s: float(s.mean()), [(s,) for s in surprises])


def _names(sites: Sites) -> tuple[str, ...]:
    return (sites,) if isinstance(sites, str) else tuple(sites)


def _rows(posterior: Posterior, sites: Sites) -> Array:
    """Draws of the sites side by side, (tasks, chain * draw, numbers); without phi, of one task."""
    structure, segments = posterior.structure, posterior.density.segments
    parts = []
    for name in _names(sites):
        if name not in segments:
            raise StructureError(
                f"there is no latent site '{name}' in this posterior; it has "
                f"{', '.join(segments) or 'none'}"
            )
        is_phi = name in structure.phi
        if posterior.is_point and not is_phi:
            raise StructureError(
                f"theta is a point estimate here, so that '{name}' has no distribution; fit with "
                "theta=bm.NUTS() or theta=bm.Gaussian(), or ask for a site of phi"
            )
        draws = (posterior.phi if is_phi else posterior.theta)[name].flatten(0, 1)
        flat = _by_task(draws, is_phi)
        segment = segments[name]
        if flat.shape[-1] != segment.size:
            raise StructureError(
                f"site '{name}' has {flat.shape[-1]} numbers, of which only "
                f"{segment.size} are free, so that it has no density in them; ask for "
                "another site"
            )
        parts.append(flat)
    count = max(len(part) for part in parts)
    rows = torch.cat([p.expand(count, -1, -1) for p in parts], -1)
    return np.asarray(rows.detach().double().cpu().numpy())


def _by_task(draws: Tensor, is_phi: bool) -> Tensor:
    """(draws, tasks, ...) or (draws, ...) to (tasks or 1, draws, numbers)."""
    flat = draws.reshape(*draws.shape[: 1 + is_phi], -1)
    return flat.movedim(1, 0) if is_phi else flat[None]


def _estimate(
    posterior: Posterior,
    names: tuple[str, ...],
    function: Callable[..., float],
    tasks: Sequence[tuple[Array, ...]],
    k: int,
) -> Estimate:
    """function(*points, k) of the points of each task."""
    if k < 1:
        raise ValueError(f"k={k} is no neighbour to look for; give at least 1, such as 3")
    _check_count(
        tasks[0][0].shape[0], _FEWEST * (k + 1), "a strategy that gives draws, or more of them"
    )

    def of(*points: Array) -> float:
        return function(*points, k)

    try:
        found = _by_parts(of, tasks)
    except RepeatedError as error:
        raise ValueError(
            f"the draws of {', '.join(names)} have no density: {error}. A point estimate of phi or "
            "a sampler that is stuck gives such draws; look at posterior.diagnose()"
        ) from None
    is_of_tasks = any(name in posterior.structure.phi for name in names)
    return found if is_of_tasks else Estimate(found.value[0], found.error[0])


def _by_parts(function: Callable[..., float], tasks: Sequence[tuple[Array, ...]]) -> Estimate:
    """A function of each task's points, with its error from parts of them."""
    values = [function(*points) for points in tasks]
    errors = [split_error(function, points) for points in tasks]
    return Estimate(*(torch.tensor(v, dtype=torch.float64) for v in (values, errors)))


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
