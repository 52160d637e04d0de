"""Which sites to treat as loc + scale * u: those of which the data say less than the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayesmeta.capturing.kept import captured
from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.enumeration import HOW_UNMIXED
from bayesmeta.model.location_scale import is_location_scale
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.phi.base import Phi
from bayesmeta.task_level.ascent import Modes, find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.task_level.positive_definite import DensePrecision
from bayesmeta.theta.pilot import Pilot, find_pilot

# At a half, a logistic regression of 200 tasks of 20 rows kept 40 effective draws of 4,000 centred.
_THRESHOLD = 0.25
_PILOT_TASKS, _PILOT_ROWS = 256, 32
# Of a site of theta, whose second derivatives are taken one by one.
_MOST_COORDINATES = 32


def check_names(noncentred: object) -> None:
    """Refuse a string where a tuple of site names is meant.

    Raises:
        TypeError: naming the tuple to give.
    """
    if isinstance(noncentred, str):
        raise TypeError(f"noncentred='{noncentred}' is a string; give ('{noncentred}',)")


def noncentre(
    noncentred: tuple[str, ...] | None,
    density: Density,
    tasks: Tasks,
    phi: Phi,
    seed: int,
    pilot: Pilot | None,
) -> tuple[Density, tuple[str, ...], Pilot | None]:
    """The density with sites treated as loc + scale * u, notes for the user, and its own pilot.

    Args:
        noncentred: names of sites; None chooses them: of phi where phi is treated with theta, and
            of theta those with several values, as a second grouping factor has.
        density, tasks, phi: what is fitted.
        seed: by which 256 tasks are picked out of more.
        pilot: of theta; None looks at the middle of the prior.

    Raises:
        ValueError: where sites of phi are named but phi has a strategy of its own.
    """
    of_phi = [name for name in noncentred or () if name not in density.structure.theta]
    if of_phi and not phi.is_joint:
        raise ValueError(
            f"noncentred={noncentred} is for phi=bm.Joint(), where theta and phi are treated "
            f"together; {type(phi).__name__} treats phi itself"
        )
    _check_mixed(noncentred or (), density, tasks)
    names, notes = noncentred or (), tuple[str, ...]()
    if noncentred is None:
        names, reason = _choose(density, tasks, seed, pilot, is_joint=phi.is_joint)
        notes = (reason,) if reason else ()
    if not names:
        return density, notes, pilot
    density = density.noncentre(names)
    if pilot is not None and set(names) & set(density.structure.theta):
        pilot = find_pilot(density, tasks, phi, seed)
    return density, notes, pilot


def _choose(
    density: Density, tasks: Tasks, seed: int, pilot: Pilot | None, *, is_joint: bool
) -> tuple[tuple[str, ...], str]:
    """The sites to noncentre, and the reason in a sentence.

    At the pilot's theta and the modes of phi there (of at most 256 tasks), the share of the prior
    in what is known of phi_i is 1 / (1 + scale^2 h_i), h_i = -d^2 log p(D_i | phi_i) / d phi_i^2.
    Above one quarter on average a site is noncentred (Betancourt & Girolami 2013: centre where data
    are many, noncentre where they are few).
    """
    candidates = _with_learned_scale(density, tasks)
    of_theta = [n for n in candidates if not density.segments[n].is_phi]
    if not is_joint:
        candidates = tuple(of_theta)
    if not candidates:
        return (), "" if not is_joint else (
            "all sites stay centred: no phi site is of a family with a scale for each coordinate "
            "that depends on theta"
        )
    share_of_tasks = min(1.0, _PILOT_TASKS / tasks.num_tasks)
    order = torch.randperm(
        tasks.num_tasks, generator=torch.Generator().manual_seed(seed), device="cpu"
    )
    tasks = tasks.select(order[:_PILOT_TASKS].sort().values)
    tasks = tasks.to(dtype=torch.float64)
    theta = theta_start(density, tasks) if pilot is None else pilot.theta
    of_phi = [n for n in candidates if n not in of_theta]
    at_mean = pilot is None and not density.d_local
    phi = prior_mean(density, theta, tasks) if at_mean else _mode(density, theta, tasks).phi[0]
    if density.d_local and of_phi:
        shares = _shares_beside_local(density, of_phi, theta, tasks)
    else:
        shares = {n: _prior_share(density, n, theta, phi, tasks) for n in of_phi}
    for name in of_theta:
        shares[name] = _share_of_theta(density, name, theta, phi, tasks, share_of_tasks)
    chosen = tuple(n for n, share in shares.items() if share > _THRESHOLD)
    parts = ", ".join(f"{n} {share:.0%}" for n, share in shares.items())
    verdict = f"noncentred: {', '.join(chosen)}" if chosen else "all sites stay centred"
    return chosen, (
        f"{verdict} (share of the prior in what is known of a value: "
        f"{parts}; above {_THRESHOLD:.0%} a site is noncentred; noncentred=(...) decides otherwise)"
    )


def _mode(density: Density, theta: Tensor, tasks: Tasks) -> Modes:
    curvature = choose(None, density, tasks)
    conditional = Conditional(density, tasks, jacobian=True, curvature=curvature)
    return find_mode(conditional, theta[None])


def _shares_beside_local(
    density: Density, names: Sequence[str], theta: Tensor, tasks: Tasks
) -> dict[str, float]:
    """The mean of var(phi_i | D_i) / scale^2, by Laplace's method, of at most so many datapoints.

    Without latents of datapoints it is that of `_prior_share`; with them what the data say of a
    task comes through those.
    """
    rows = torch.arange(min(tasks.num_data, _PILOT_ROWS)).expand(tasks.num_tasks, -1)
    tasks = tasks.take_rows(rows, tasks.mask.gather(1, rows))
    found = _mode(density, theta, tasks)
    assert isinstance(found.precision, DensePrecision)
    variance = torch.linalg.inv(found.precision.matrix[0]).diagonal(dim1=-2, dim2=-1)
    drawn_from, shares = density.distributions(theta, found.phi[0], tasks), {}
    for name in names:
        segment, fn = density.segments[name], drawn_from[name]
        scale = base_distribution(fn).scale.expand(fn.batch_shape + fn.event_shape)
        share = (segment.unflatten(variance) / scale.square()).clamp(max=1)
        share = segment.flatten(share)
        shares[name] = float((share[tasks.mask] if segment.rows else share).mean())
    return shares


def _with_learned_scale(density: Density, tasks: Tasks) -> tuple[str, ...]:
    theta = torch.zeros(density.d_theta, dtype=tasks.dtype, requires_grad=True)
    phi = torch.zeros(tasks.num_tasks, density.width(tasks), dtype=tasks.dtype)
    sites = density.sites(theta, phi, tasks, jacobian=False)
    return tuple(
        name
        for name, segment in density.segments.items()
        if (segment.is_phi or segment.size > 1)
        and is_location_scale(fn := sites[name].fn)
        and base_distribution(fn).scale.requires_grad
        and not _is_mixed(density, fn)
    )


def _share_of_theta(
    density: Density, name: str, theta: Tensor, phi: Tensor, tasks: Tasks, share_of_tasks: float
) -> float:
    """`_prior_share` of a site of theta, by all tasks of which a share is given."""
    segment = density.segments[name]
    count = min(segment.size, _MOST_COORDINATES)
    places = torch.linspace(segment.start, segment.stop - 1, count).long().tolist()

    def curvature(theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            theta = theta.detach().requires_grad_()
            terms = density.terms(theta, phi, tasks.with_tensors(data))
            said = (terms.phi + terms.data).sum()
            (gradient,) = torch.autograd.grad(said, theta, create_graph=True)
            slopes = [gradient[k] for k in places]
            return tuple(
                torch.autograd.grad(s, theta, retain_graph=True, materialize_grads=True)[0][k]
                for k, s in zip(places, slopes, strict=True)
            )

    inputs = [theta, phi, *tasks.tensors()]
    graph = captured(density, ("share of theta", name), [tasks], curvature, inputs)
    h = torch.stack([-c.detach() for c in graph(*inputs)]).clamp(min=0)
    fn = density.sites(theta, phi, tasks, jacobian=False)[name].fn
    scale = segment.flatten(base_distribution(fn).scale.expand(fn.batch_shape + fn.event_shape))
    scale = scale[[k - segment.start for k in places]]
    return float((1 / (1 + scale.square() * h / share_of_tasks)).mean())


def _check_mixed(names: Sequence[str], density: Density, tasks: Tasks) -> None:
    """Refuse sites whose loc or scale depends on discrete latents.

    Raises:
        StructureError: with what to write instead.
    """
    if density.reading.summed is None or not names:
        return
    theta = torch.zeros(density.d_theta, dtype=tasks.dtype)
    phi = torch.zeros(tasks.num_tasks, density.width(tasks), dtype=tasks.dtype)
    sites = density.sites(theta, phi, tasks, jacobian=False)
    for name in names:
        if (
            name in sites
            and is_location_scale(sites[name].fn)
            and _is_mixed(density, sites[name].fn)
        ):
            raise StructureError(
                f"noncentred names '{name}', whose loc or scale depends on the discrete "
                f"{', '.join(density.structure.discrete)}; {HOW_UNMIXED.format(name=name)}"
            )


def _is_mixed(density: Density, fn: Any) -> bool:
    """Whether loc and scale depend on discrete latents, so that none is to be pulled out."""
    summed, events = density.reading.summed, len(fn.event_shape)
    base = base_distribution(fn)
    return summed is not None and any(summed.depends(x, events) for x in (base.loc, base.scale))


def _prior_share(density: Density, name: str, theta: Tensor, phi: Tensor, tasks: Tasks) -> float:
    """The mean over tasks and coordinates of 1 / (1 + scale^2 h_i), h_i clamped at 0."""
    segment = density.segments[name]

    def curvature(theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            phi = phi.detach().requires_grad_()
            log_likelihood = density.terms(theta, phi, tasks.with_tensors(data)).data.sum()
            (gradient,) = torch.autograd.grad(log_likelihood, phi, create_graph=True)
            return tuple(
                torch.autograd.grad(gradient[:, k].sum(), phi, retain_graph=True)[0][:, k].detach()
                for k in range(segment.start, segment.stop)
            )

    inputs = [theta, phi, *tasks.tensors()]
    graph = captured(density, ("share of phi", name), [tasks], curvature, inputs)
    h = torch.stack([-c for c in graph(*inputs)], dim=1).clamp(min=0)
    fn = density.distributions(theta, phi, tasks)[name]
    scale = segment.flatten(base_distribution(fn).scale.expand(fn.batch_shape + fn.event_shape))
    return float((1 / (1 + scale.square() * h)).mean())
