"""fit: a model, tasks and a pair of strategies to a posterior."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace

from bayesmeta.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.phi.joint import Joint
from bayesmeta.posterior import Posterior
from bayesmeta.problem import Model, isolated
from bayesmeta.structure import structure
from bayesmeta.tasks import Tasks
from bayesmeta.theta.base import Theta, seeds
from bayesmeta.theta.nuts import NUTS


def fit(
    model: Model,
    tasks: Tasks,
    *,
    theta: Theta | None = None,
    phi: Phi | None = None,
    query: Tasks | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Posterior:
    """Infer theta and phi of a plain Pyro model: p(theta) prod_i p(phi_i | theta) p(D_i | phi_i).

    Args:
        model: a Pyro function of the tasks with plates "tasks" (dim=-2) and "data" (dim=-1).
        tasks: the data; with a query, the support.
        theta: what is done with the shared latent; None is NUTS().
        phi: what is done with each task's latent; None is Joint().
        query: datapoints of the same tasks by which phi, inferred from `tasks`, is scored: theta
            then maximises log p(query | tasks, theta) instead of log p(tasks | theta).
        seed: the same seed gives the same posterior; the caller's random state is left alone.
        progress: whether to show a progress bar and notes.

    Raises:
        StructureError: where model, tasks and strategies do not fit together, before any inference.
        TrainingError: where training meets a loss that is no number.
        ValueError: where a query is given to a phi strategy that has no use for it.
    """
    theta, phi = theta if theta is not None else NUTS(), phi if phi is not None else Joint()
    _check_strategies(theta, phi)
    found = structure(model, tasks)
    names = f"theta=bm.{type(theta).__name__}(), phi=bm.{type(phi).__name__}()"
    found.check_treatable(names, needs_phi=not phi.is_joint)
    if query is not None:
        structure(model, query)
        tasks = tasks.with_query(query)
    if tasks.query is not None and phi.is_joint:
        raise ValueError(
            "a query was given, but phi=bm.Joint() has no few-shot objective and would ignore it; "
            "fit to all datapoints without query=, or choose a phi strategy that scores a query, "
            "such as phi=bm.GradientSteps()"
        )
    if tasks.num_tasks == 1 and found.phi:
        warnings.warn(
            f"there is a single task ('{tasks.names[0]}'): what theta says of the spread between "
            "tasks rests on its prior alone",
            stacklevel=2,
        )
    with isolated(seed):
        density = Density(model, found, tasks)
        phi.check(density, tasks.sample())
        # Noise of the posterior's own: adapt and predict may not repeat that of the fit.
        fit_seed, posterior_seed = seeds(seed, 2)
        result = theta.fit(density, tasks, phi, seed=fit_seed, progress=progress)
    flat = tuple(name for name in found.theta if found.nodes[name].distribution == "flat")
    if flat and not theta.is_point:
        note = (
            f"pyro.param {', '.join(flat)}: part of theta with a flat prior, not a point estimate"
        )
        result = replace(result, notes=(*result.notes, note))
    if progress:
        for note in result.notes:
            print(note, file=sys.stderr)
    return Posterior(result, phi, theta.is_point, posterior_seed)


def _check_strategies(theta: object, phi: object) -> None:
    for name, given, kind, example in (
        ("theta", theta, Theta, "theta=bm.NUTS()"),
        ("phi", phi, Phi, "phi=bm.Joint()"),
    ):
        if isinstance(given, kind):
            continue
        remedy = f"give a strategy, such as {example}"
        if isinstance(given, dict):
            remedy = "a preset is a pair: unpack it, bm.fit(model, tasks, **bm.MAML())"
        if isinstance(given, type):
            remedy = f"{given.__name__} is a class: call it, bm.{given.__name__}()"
        elif isinstance(given, Theta | Phi):
            remedy = (
                f"{type(given).__name__} is a strategy for {'phi' if kind is Theta else 'theta'}"
            )
        raise TypeError(f"{name}={given!r}: {remedy}")
