"""fit: a model, tasks and a pair of strategies to a posterior."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from bayesmeta.amortisation.encoders import Encoder
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import on_device
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.handlers import Model, isolated
from bayesmeta.model.structure import check_types, structure
from bayesmeta.phi.base import Phi
from bayesmeta.phi.joint import Joint
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.theta.base import Theta, seeds
from bayesmeta.theta.nuts import NUTS
from bayesmeta.training.checkpoint import digest
from bayesmeta.training.fit_options import Run


def fit(
    model: Model,
    tasks: Tasks,
    *,
    theta: Theta | None = None,
    phi: Phi | None = None,
    query: Tasks | None = None,
    validation: Tasks | None = None,
    checkpoint: str | Path | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> Posterior:
    """Infer theta and phi of a plain Pyro model: p(theta) prod_i p(phi_i | theta) p(D_i | phi_i).

    Ctrl-C ends training, not the call: it warns, and the posterior is that of the best parameters
    so far by `validation`, or without it of the last ones.

    Args:
        model: a Pyro function of the tasks with plates "tasks" (dim=-2) and "data" (dim=-1).
        tasks: the data; with a query, the support.
        theta: what is done with the shared latent; None is NUTS().
        phi: what is done with each task's latent; None is Joint().
        query: datapoints of the same tasks by which phi, inferred from `tasks`, is scored: theta
            then maximises log p(query | tasks, theta) instead of log p(tasks | theta).
        validation: other tasks, scored now and then while theta trains: the parameters with the
            best score are kept. With a query of their own where the tasks have one.
        checkpoint: a folder for the state of training, written before the first step, after a step
            where that was last done over 30 seconds ago, and at the end. A call that was
            interrupted goes on from it to the same result as if it had not been. Other data,
            strategies, seeds, sites or shapes are refused; another function of the same sites and
            shapes is not told from the first.
        seed: the same seed gives the same posterior; the caller's random state is left alone.
        device: where to compute, as "cuda"; the posterior and its tasks stay there. None takes
            where the tasks are. Random numbers are the same on every device.
        progress: whether to show a progress bar and notes.

    Raises:
        StructureError: where model, tasks and strategies do not fit together, before any inference.
        TrainingError: where training meets a loss that is no number.
        CheckpointError: where the checkpoint is damaged, or of another model, data or strategies.
        CaptureError: where the model branches on a value, or calls `.item()`.
        NotADirectoryError: where the checkpoint is a file, and no folder.
        ValueError: where a query, validation tasks or a checkpoint are given to strategies that
            have no use for them, or a device that is not here.
    """
    theta, phi = theta if theta is not None else NUTS(), phi if phi is not None else Joint()
    _check_strategies(theta, phi)
    _check_evidence(theta, phi)
    check_types(model, tasks)
    where = torch.device(device if device is not None else tasks.device)
    _check_device(theta, where)
    query, validation = (t if t is None else t.to(where) for t in (query, validation))
    with on_device(where):
        return _fit(
            model, tasks.to(where), theta, phi, query, validation, checkpoint, seed, progress
        )


def _fit(
    model: Model,
    tasks: Tasks,
    theta: Theta,
    phi: Phi,
    query: Tasks | None,
    validation: Tasks | None,
    checkpoint: str | Path | None,
    seed: int,
    progress: bool,
) -> Posterior:
    """`fit` where the tasks are."""
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
    if validation is not None:
        structure(model, validation)
    _check_training(theta, phi, tasks, validation, checkpoint)
    if query is not None and not theta.infers:
        raise ValueError(
            f"theta=bm.{type(theta).__name__}() is known, so that there is nothing for query= to "
            "score; leave it out, and give it to post.predict(query) or post.log_score(query)"
        )
    if tasks.num_tasks == 1 and found.phi and found.theta and theta.infers:
        warnings.warn(
            f"there is a single task ('{tasks.names[0]}'): what theta says of the spread between "
            "tasks rests on its prior alone",
            stacklevel=2,
        )
    phi = phi if progress else phi.silent()
    with isolated(seed):
        density = Density(model, found, tasks)
        phi.check(density, tasks.sample())
        _check_unknowns(theta, phi, density, tasks)
        # Noise of the posterior's own: adapt and predict may not repeat that of the fit.
        fit_seed, posterior_seed = seeds(seed, 2)
        run = Run(
            fit_seed,
            progress,
            validation if validation is None else validation.to(dtype=tasks.dtype),
            checkpoint if checkpoint is None else Path(checkpoint),
            {
                "theta": repr(theta),
                "phi": repr(phi),
                "seed": seed,
                "model": found.rows(),
                "data": _fingerprint(tasks),
                "validation": None if validation is None else _fingerprint(validation),
            },
        )
        result = theta.fit(density, tasks, phi, run)
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


def _check_unknowns(theta: Theta, phi: Phi, density: Density, tasks: Tasks) -> None:
    if theta.infers and not (density.d_theta or phi.is_joint or phi.start(density, tasks.sample())):
        raise StructureError(
            f"the model has no theta, no latent outside the plate 'tasks', and phi=bm.{phi!r} has "
            f"nothing to train, so that theta=bm.{type(theta).__name__}() has nothing to infer; "
            "take theta=bm.Fixed({}), or bm.Joint()"
        )


def _fingerprint(tasks: Tasks) -> str:
    given = tasks.sample() if tasks.are_episodes else tasks
    return digest(given.tensors(), f"{tasks.num_tasks} tasks")


def _check_training(
    theta: Theta,
    phi: Phi,
    tasks: Tasks,
    validation: Tasks | None,
    checkpoint: str | Path | None,
) -> None:
    if not theta.trains and not (validation is None and checkpoint is None):
        raise ValueError(
            f"theta=bm.{type(theta).__name__}() does not train step by step, so that it has no use "
            "for validation= or checkpoint=; leave them out, or use bm.Point() or bm.Gaussian()"
        )
    if validation is not None and phi.is_joint:
        raise ValueError(
            "validation tasks are not trained on, and phi=bm.Joint() has no phi for such tasks; "
            "choose a strategy that infers phi task by task, such as phi=bm.Laplace()"
        )
    if validation is not None and (validation.query is None) != (tasks.query is None):
        with_query = "validation" if tasks.query is None else "tasks"
        raise ValueError(
            f"of the tasks and the validation tasks only {with_query} have a query, so that they "
            "would be scored differently; give both or neither: "
            "validation=support.with_query(query)"
        )


def _check_device(theta: Theta, device: torch.device) -> None:
    if isinstance(theta, NUTS) and device.type != "cpu":
        raise ValueError(
            f"theta=bm.NUTS() was given with device='{device}', but it samples on the CPU; "
            "leave device out, or use bm.Gaussian() or bm.Point()"
        )
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            f"no CUDA device is here; device='{device}' was given: leave it out to compute on the "
            "CPU, or see that torch is built for CUDA and nvidia-smi lists a GPU"
        )


def _check_evidence(theta: Theta, phi: Phi) -> None:
    if theta.infers and not (phi.has_evidence or phi.is_joint):
        raise ValueError(
            f"phi=bm.{type(phi).__name__}() draws phi given theta and has no log evidence by which "
            f"theta=bm.{type(theta).__name__}() could infer theta; fit with another strategy and "
            f"give this one to adapt, post.adapt(tasks, phi=bm.{type(phi).__name__}()), or take "
            "theta=bm.Fixed({...}); bm.Joint() samples theta and phi together"
        )


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
        if isinstance(given, Encoder):
            remedy = f"an encoder is a part of a strategy: phi=bm.Amortised({given!r})"
        if isinstance(given, type):
            remedy = f"{given.__name__} is a class: call it, bm.{given.__name__}()"
        elif isinstance(given, Theta | Phi):
            remedy = (
                f"{type(given).__name__} is a strategy for {'phi' if kind is Theta else 'theta'}"
            )
        raise TypeError(f"{name}={given!r}: {remedy}")
