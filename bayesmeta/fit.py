"""fit: a model, tasks and a pair of strategies to a posterior."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from bayesmeta.data.arguments import check_seed
from bayesmeta.data.query_checks import check_query
from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.engine.noise import on_device, seeds
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.model.structure import Structure
from bayesmeta.phi.base import Phi
from bayesmeta.phi.joint import Joint
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.handlers import Model
from bayesmeta.running.isolation import isolated, undisturbed
from bayesmeta.running.sites import FlatPrior
from bayesmeta.theta.base import Fit, LearnedFrom, Theta
from bayesmeta.theta.nuts import NUTS
from bayesmeta.theta.pair_checks import check_device, check_pair, check_use, device_of
from bayesmeta.training.checkpoint import digest
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.loop import TrainingError


@undisturbed()
def fit(
    model: Model,
    tasks: Tasks,
    *,
    theta: Theta | None = None,
    phi: Phi | None = None,
    query: Tasks | None = None,
    validation: Tasks | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Posterior:
    """Infer theta and phi of a plain Pyro model: p(theta) prod_i p(phi_i | theta) p(D_i | phi_i).

    Ctrl-C ends training, not the call: it warns, and the posterior is that of the best parameters
    so far by `validation`, or without it of the last ones.

    Threads may call it at once and get what each gets alone; they compute one after the other, as
    Pyro's handlers, torch's default dtype and random state are the process's: a thread, also one
    that adapts or predicts, may wait for another's whole fit. Processes run side by side.

    Args:
        model: a Pyro function of the tasks with plates "tasks" (dim=-2) and "data" (dim=-1).
        tasks: the data; with a query, the support.
        theta: what is done with the shared latent; None is NUTS().
        phi: what is done with each task's latent; None is Joint().
        query: datapoints of the same tasks by which phi, inferred from `tasks`, is scored: theta
            then maximises log p(query | tasks, theta) instead of log p(tasks | theta).
        validation: other tasks, scored now and then while theta trains: the parameters with the
            best score are kept. With a query of their own where the tasks have one.
        checkpoint: a folder for the state of training, written before the first step, now and then,
            at the end, and where SIGTERM ends the process. A call that was interrupted goes on from
            it to the same result as if it had not been; one that had ended reads it alone. Other
            data, strategies, seeds, sites or shapes are refused; another function of the same sites
            and shapes is not told from the first. Where the disk gets full on the way, training
            goes on and warns.
        checkpoint_seconds: it is written after a step where that was last done so long ago; 0 does
            so after each step.
        seed: the same seed gives the same posterior; the caller's random state is left alone.
        device: where to compute, as "cuda"; the posterior and its tasks stay there. None takes
            where the tasks are. Random numbers are the same on every device.
        progress: whether to show a progress bar and notes.

    Raises:
        StructureError: where model, tasks and strategies do not fit together, before any inference.
        TypeError: where one of them is of another kind.
        TrainingError: where training meets a loss that is no number.
        CheckpointError: where the checkpoint is damaged, or of another model, data or strategies,
            or cannot be written before the first step.
        CaptureError: where the model branches on a value, or reads it out, as by `.item()`.
        NotADirectoryError: where the checkpoint is a file, and no folder.
        TasksError: where a query is empty, or is the support itself.
        ValueError: where a query, validation tasks or a checkpoint are given to strategies that
            have no use for them, or a device that is not here.
    """
    theta, phi = theta if theta is not None else NUTS(), phi if phi is not None else Joint()
    check_pair(theta, phi)
    check_seed("fit", seed)
    check_tasks("tasks", tasks, hint="after the model")
    for name, others in (("query", query), ("validation", validation)):
        if others is not None:
            check_tasks(name, others)
    check_query(tasks, tasks.query if query is None else query)
    if validation is not None:
        check_query(validation, validation.query)
    where = tasks.device if device is None else device_of(device)
    check_device(theta, where)
    phi, began = phi if progress else phi.silent(), time.perf_counter()
    with on_device(where):
        tasks = tasks.to(where)
        query, validation = (t if t is None else t.to(where) for t in (query, validation))
        density = _density(model, tasks, theta, phi, query, validation)
        tasks = tasks if query is None else tasks.with_query(query)
        with isolated(seed):
            check_use(theta, phi, density, tasks, query, validation, checkpoint)
        options = FitOptions(
            seed,
            progress,
            validation if validation is None else validation.to(dtype=tasks.dtype),
            checkpoint if checkpoint is None else Path(checkpoint),
            checkpoint_seconds,
            _about(theta, phi, seed, density.structure, tasks, validation),
        )
        return fit_density(density, tasks, theta, phi, options, began)


def fit_density(
    density: Density, tasks: Tasks, theta: Theta, phi: Phi, options: FitOptions, began: float
) -> Posterior:
    """`fit` of a model that was read and checked before, on tasks of the same layout.

    What is captured and compiled for one fit is kept by the density, and serves the next one.

    Args:
        density, tasks, theta, phi: what is fitted, and how.
        options: with the seed that `fit` is given.
        began: when that was, by `time.perf_counter`.
    """
    # Noise of the posterior's own: adapt and predict may not repeat that of the fit.
    fit_seed, posterior_seed = seeds(options.seed, 2)
    with isolated(options.seed):
        read = time.perf_counter()
        with _naming_edges(density):
            found = theta.fit(density, tasks, phi, replace(options, seed=fit_seed))
        if theta.infers:
            phi.check_found(density, tasks, found.theta.flatten(0, 1))
        seconds = {"read": read - began, **found.seconds}
        seconds["rest"] = time.perf_counter() - began - sum(seconds.values())
        found = _noted(replace(found, seconds=seconds), theta, options.progress)
        if theta.infers and (density.d_theta or found.state):
            found = replace(found, learned_from=LearnedFrom.of(tasks))
    return Posterior(Draws(found, phi, theta.is_point, posterior_seed))


def _density(
    model: Model,
    tasks: Tasks,
    theta: Theta,
    phi: Phi,
    query: Tasks | None,
    validation: Tasks | None,
) -> Density:
    """The model as it was read on the tasks, which runs on the other tasks too."""
    reading = read(model, tasks)
    names = f"theta=bm.{type(theta).__name__}(), phi=bm.{type(phi).__name__}()"
    reading.structure.check_treatable(names, needs_phi=not phi.is_joint)
    for others in (query, validation):
        if others is not None:
            reading.check(others)
    if tasks.query is not None:
        reading.check_padding(tasks.query)
    reading.check_sums(tasks)
    return Density(reading)


@contextlib.contextmanager
def _naming_edges(density: Density) -> Iterator[None]:
    """Training that fails says which outcomes have edges that are latent: none goes across."""
    try:
        yield
    except TrainingError as error:
        edges = "; ".join(
            f"the support of site '{site}' has an edge at '{', '.join(names)}'"
            for site, names in density.reading.bounded.items()
        )
        if not edges:
            raise
        raise TrainingError(
            f"{edges}, so that outcomes are impossible at some values, as where training starts; "
            f"sample with theta=bm.NUTS() and phi=bm.Joint(), which goes around these ({error})"
        ) from error


def _about(
    theta: Theta,
    phi: Phi,
    seed: int,
    structure: Structure,
    tasks: Tasks,
    validation: Tasks | None,
) -> dict[str, object]:
    """What tells this call from others, by which a checkpoint is recognised."""
    return {
        "theta": repr(theta),
        "phi": repr(phi),
        "seed": seed,
        "model": structure.rows(),
        "data": _fingerprint(tasks),
        "validation": None if validation is None else _fingerprint(validation),
    }


def _noted(found: Fit, theta: Theta, progress: bool) -> Fit:
    """What was found, with notes on parameters and outcomes; the notes are shown."""
    drawn_from = found.density.reading.drawn_from
    flat = {n: fn for n, fn in drawn_from.items() if isinstance(fn, FlatPrior)}
    if not theta.is_point:
        for statement in dict.fromkeys(fn.statement for fn in flat.values()):
            names = [n for n, fn in flat.items() if fn.statement == statement]
            where = "phi" if set(names) <= set(found.density.structure.phi) else "theta"
            note = (
                f"{statement} {', '.join(names)}: part of {where} with a flat prior, not a point "
                "estimate"
            )
            found = replace(found, notes=(*found.notes, note))
    found = replace(found, notes=(*found.notes, *found.density.reading.remarks))
    if progress:
        for note in (*found.notes, *(found.doubts or ())):
            print(note, file=sys.stderr)
    return found


def _fingerprint(tasks: Tasks) -> str:
    given = tasks.sample() if tasks.are_episodes else tasks
    return digest(given.tensors(), f"{tasks.num_tasks} tasks")
