"""What goes together: a theta and a phi strategy, and what fit is given for them."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch

from bayesmeta.amortisation.encoders import Encoder
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.theta.base import Theta
from bayesmeta.theta.nuts import NUTS


def check_pair(theta: object, phi: object) -> None:
    """Refuse what are no strategies, and a phi by which theta cannot be inferred.

    Raises:
        TypeError: naming what was given, and what to give.
        ValueError: for a phi without log evidence.
    """
    _check_strategies(theta, phi)
    assert isinstance(theta, Theta) and isinstance(phi, Phi)
    if theta.infers and not (phi.has_evidence or phi.is_joint):
        raise ValueError(
            f"phi=bm.{type(phi).__name__}() draws phi given theta and has no log evidence by which "
            f"theta=bm.{type(theta).__name__}() could infer theta; fit with another strategy and "
            f"give this one to adapt, post.adapt(tasks, phi=bm.{type(phi).__name__}()), or take "
            "theta=bm.Fixed({...}); bm.Joint() samples theta and phi together"
        )


def device_of(given: object) -> torch.device:
    """The device that was given as one, or by its name.

    Raises:
        ValueError: where there is no such device.
    """
    if isinstance(given, torch.device):
        return given
    try:
        return torch.device(str(given))
    except RuntimeError as error:
        raise ValueError(
            f"fit got device={given!r}, which torch does not know; give 'cpu' or 'cuda', or leave "
            "it out to compute where the tasks are"
        ) from error


def check_device(theta: Theta, device: torch.device) -> None:
    """Refuse a device that is not here, or on which the strategy does not work.

    Raises:
        ValueError: naming the device.
    """
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


def check_use(
    theta: Theta,
    phi: Phi,
    density: Density,
    tasks: Tasks,
    query: Tasks | None,
    validation: Tasks | None,
    checkpoint: str | Path | None,
) -> None:
    """Refuse a model that the strategies cannot treat, and what they have no use for.

    Args:
        theta, phi: the strategies.
        density: of the model.
        tasks: with their query, if any.
        query, validation, checkpoint: as of fit.

    Raises:
        StructureError: for a model that the phi strategy cannot treat, or without unknowns.
        ValueError: for a query, validation tasks or a checkpoint of no use.
    """
    _check_query(theta, phi, density, tasks, query)
    _check_training(theta, phi, tasks, validation, checkpoint)
    phi.check(density, tasks.sample())
    _check_unknowns(theta, phi, density, tasks)
    structure = density.structure
    if tasks.num_tasks == 1 and structure.phi and structure.theta and theta.infers:
        warnings.warn(
            f"there is a single task ('{tasks.names[0]}'): what theta says of the spread between "
            "tasks rests on its prior alone",
            stacklevel=4,
        )


def _check_query(
    theta: Theta, phi: Phi, density: Density, tasks: Tasks, query: Tasks | None
) -> None:
    summed = density.reading.summed
    if tasks.query is not None and summed is not None and summed.of_tasks:
        raise ValueError(
            f"a query was given, but the discrete {', '.join(summed.of_tasks)} of a task is summed "
            "out, and what the support says of it is not handed to the query; fit to all "
            "datapoints without query="
        )
    if tasks.query is not None and phi.is_joint:
        raise ValueError(
            "a query was given, but phi=bm.Joint() has no few-shot objective and would ignore it; "
            "fit to all datapoints without query=, or choose a phi strategy that scores a query, "
            "such as phi=bm.GradientSteps()"
        )
    if query is not None and not theta.infers:
        raise ValueError(
            f"theta=bm.{type(theta).__name__}() is known, so that there is nothing for query= to "
            "score; leave it out, and give it to post.predict(query) or post.log_score(query)"
        )


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


def _check_unknowns(theta: Theta, phi: Phi, density: Density, tasks: Tasks) -> None:
    if theta.infers and not (density.d_theta or phi.is_joint or phi.start(density, tasks.sample())):
        raise StructureError(
            f"the model has no theta, no latent outside the plate 'tasks', and phi=bm.{phi!r} has "
            f"nothing to train, so that theta=bm.{type(theta).__name__}() has nothing to infer; "
            "take theta=bm.Fixed({}), or bm.Joint()"
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
