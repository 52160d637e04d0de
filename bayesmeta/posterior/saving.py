"""Posteriors on disk: what is needed to adapt and predict, and no data of the tasks behind it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from bayesmeta.amortisation.bounds import Bound
from bayesmeta.amortisation.encoders import Encoder
from bayesmeta.amortisation.guides import Guide
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.fine_tuning.stages import Stage
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean
from bayesmeta.model.reading import Reading
from bayesmeta.model.reading import read as read_model
from bayesmeta.model.structure import Role, Structure
from bayesmeta.nets import calls, constants
from bayesmeta.phi.base import Phi
from bayesmeta.posterior.own_data import digest_of, with_data
from bayesmeta.running.handlers import Model
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.curvature import Curvature
from bayesmeta.theta.base import Fit, LearnedFrom
from bayesmeta.training.checkpoint import CheckpointError, difference, read, write

_FILE = "posterior.safetensors"
_PARTS = (Phi, Encoder, Guide, Bound, Curvature, Stage, torch.optim.Optimizer)


def save(posterior: Draws, folder: Path) -> None:
    """Write theta, phi and what was trained, but no x, no y and no mask.

    Kept are names of tasks, with phi of each, and of those that theta was fitted to, and names and
    shapes of columns; their values are
    not: whoever has the folder can adapt to new tasks, and cannot see the old ones' data.

    Raises:
        CheckpointError: where the strategy holds what has no name to be found by, as a function.
    """
    strategy = _encoded(posterior.strategy)
    tensors = {
        "theta": posterior.fit.theta,
        # What was inferred of datapoints says nothing without these.
        "phi": posterior.centred_phi[..., : posterior.density.d_phi],
        "losses": posterior.fit.losses,
    }
    summed = posterior.density.reading.summed
    if summed is not None and summed.of_tasks:
        tensors["states"] = posterior.states[..., :1]
    tensors |= constants.stored(_calls_of(posterior))
    tensors |= {f"state_{k}": x for k, x in enumerate(posterior.fit.state)}
    tensors |= {f"stats_{name}": x for name, x in posterior.fit.stats.items()}
    tensors |= {f"told_{name}": x for name, x in posterior.told.items()}
    tasks, learned = posterior.tasks, posterior.fit.learned_from
    about = {
        "strategy": strategy,
        "is_point": posterior.is_point,
        "seed": posterior.seed,
        "noncentred": list(posterior.centred.noncentred),
        "notes": list(posterior.fit.notes),
        "doubts": posterior.fit.doubts,
        "pareto_k": posterior.fit.pareto_k,
        "model": _described(_of_tasks(posterior), _whole(tasks)),
        "whole": sorted(_whole(tasks)),
        "inputs": {n.name: list(n.inputs) for n in posterior.structure.nodes.values()},
        "tasks": list(tasks.names),
        "data": digest_of(tasks),
        "are_named": tasks.origin is None,
        "learned_from": None if learned is None else {"names": learned.names},
        "columns": {n: [str(c.dtype), list(c.shape[1:])] for n, c in tasks.x.items()},
        "y": None if tasks.y is None else [str(tasks.y.dtype), list(tasks.y.shape[1:])],
        "dtype": str(tasks.dtype),
    }
    write(folder, tensors, about, _FILE)


def _calls_of(posterior: Draws) -> list[calls.Call]:
    """The networks that the model calls."""
    density, theta = posterior.density, posterior.fit.theta[0, 0]
    some = posterior.tasks.select(torch.arange(min(1, len(posterior.tasks))))
    with isolated(seed=0), torch.no_grad(), calls.watch() as called:
        density.log_likelihood(theta, prior_mean(density, theta, some), some)
    return called


def restored(folder: str | Path, model: Model, tasks: Tasks | None) -> Draws:
    """The draws that `save` wrote, with the data if they are given; see `bm.load`.

    Raises:
        FileNotFoundError, CheckpointError, TasksError: as `bm.load`.
    """
    if not isinstance(folder, str | Path):
        raise TypeError(f"load got folder={folder!r}; give the folder first, then the model")
    found = read(Path(folder), _FILE)
    if found is None:
        raise FileNotFoundError(
            f"no posterior was saved in '{folder}'; give the folder that post.save was given"
        )
    tensors, about = found
    draws = _of_file(model, tensors, about, folder)
    return draws if tasks is None else with_data(draws, tasks, about.get("data"))


def _of_file(
    model: Model, tensors: dict[str, Tensor], about: dict[str, Any], folder: str | Path
) -> Draws:
    with calls.watch() as called:
        reading, tasks = _read_without_data(model, about, folder)
    other = constants.restore(called, tensors)
    if other is not None:
        raise CheckpointError(
            f"'{folder}' holds a posterior of another network: its {other} is not that of the "
            "model's network, which was called before, or has other layers, their order, "
            "activations or settings; load into a model whose network is new, and built as it was"
        )
    density, phi = Density(reading, about.get("noncentred", ())), tensors["phi"]
    fit = Fit(
        density=density,
        tasks=tasks,
        theta=tensors["theta"],
        phi=pad(phi, (0, density.width(tasks) - phi.shape[-1])),
        states=_padded_states(tensors.get("states"), density, tasks),
        stats=_by_prefix(tensors, "stats_"),
        told=_by_prefix(tensors, "told_"),
        state=tuple(_by_prefix(tensors, "state_").values()),
        losses=tensors["losses"],
        notes=(*about["notes"], *_about_local(reading.structure)),
        doubts=None if about.get("doubts") is None else tuple(about["doubts"]),
        pareto_k=about.get("pareto_k"),
        learned_from=_learned_from(about),
    )
    return Draws(fit, _decoded(about["strategy"], folder), about["is_point"], about["seed"])


def _padded_states(states: Tensor | None, density: Density, tasks: Tasks) -> Tensor | None:
    """Joint values of discrete latents of tasks, and of datapoints that are not there."""
    summed = density.reading.summed
    if states is None or summed is None or not summed.of_rows:
        return states
    return pad(states, (0, tasks.num_data))


def _learned_from(about: dict[str, Any]) -> LearnedFrom | None:
    """The names of the tasks that theta was fitted to; files of old do not tell."""
    found = about.get("learned_from", {"names": None})
    if found is None:
        return None
    return LearnedFrom(None, None if found["names"] is None else tuple(found["names"]))


def _about_local(found: Structure) -> tuple[str, ...]:
    if not found.local:
        return ()
    return (
        f"{', '.join(found.local)}: one a datapoint, and not stored; predictions and scores are of "
        "new rows, and adapt(tasks) infers it of the rows given",
    )


def _by_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    names = [name for name in tensors if name.startswith(prefix)]
    names.sort(key=lambda name: (len(name), name))
    return {name.removeprefix(prefix): tensors[name] for name in names}


def _whole(tasks: Tasks) -> set[str]:
    """The columns of whole numbers, which may be indices."""
    return {name for name, column in tasks.x.items() if torch.equal(column, column.round())}


def _of_tasks(posterior: Draws) -> Structure:
    """The structure with shapes as on the posterior's tasks, which need not be those of the fit."""
    nodes = dict(posterior.structure.nodes)
    for name in posterior.structure.phi:
        axis, shape = nodes[name].tasks_axis, nodes[name].shape
        shape = (*shape[:axis], len(posterior.tasks), *shape[axis + 1 :])
        nodes[name] = replace(nodes[name], shape=shape)
    return Structure(nodes)


def _described(found: Structure, whole: set[str]) -> list[dict[str, str]]:
    """The sites, with shapes of theta and phi alone: others depend on how much data there are.

    Columns of whole numbers are left out of their parents: that they are read shows where their
    values differ, and those that stand in for them do not. So are outcomes, and what is read at
    other datapoints or of other tasks.
    """
    nodes = {
        name: replace(
            node,
            parents=tuple(p for p in node.parents if p not in found.data),
            inputs=tuple(c for c in node.inputs if c not in whole),
            elsewhere=(),
            inputs_elsewhere=(),
            of_others=(),
            inputs_of_others=(),
        )
        for name, node in found.nodes.items()
    }
    rows = Structure(nodes).rows()
    for row in rows:
        if found.nodes[row["site"]].role not in (Role.THETA, Role.PHI):
            del row["shape"]
    return rows


def _read_without_data(
    model: Model, about: dict[str, Any], folder: str | Path
) -> tuple[Reading, Tasks]:
    """The model as it was read before, on tasks without data.

    Columns of whole numbers hold ones, by which nothing vanishes, or zeros, where a model looks up
    a single thing by them.

    Raises:
        CheckpointError: where it is another model, or runs with neither.
    """
    problem, columns = "", about["columns"]
    integers = [n for n, (kind, _) in columns.items() if not _dtype(kind).is_floating_point]
    whole = set(about.get("whole", integers))
    for value in (1, 0):
        tasks = _without_data(about, whole, value)
        try:
            reading = read_model(model, tasks)
        except StructureError as error:
            if not whole:
                raise
            problem = problem or (
                f"the model does not run on what stands in for the data of '{folder}', where "
                "columns of whole numbers hold ones or zeros; where it looks things up by them, "
                "number them 0, 1, ... before the fit, and else give the model of the fit "
                f"({error})"
            )
            continue
        described = _described(reading.structure, whole)
        if described == about["model"]:
            return _with_inputs(reading, about.get("inputs", {})), tasks
        how = difference("model", about["model"], described)
        problem = f"'{folder}' holds a posterior of another model: {how}"
    raise CheckpointError(problem)


def _with_inputs(reading: Reading, inputs: dict[str, list[str]]) -> Reading:
    """With the columns that each site read in the fit."""
    nodes = {
        name: replace(node, inputs=tuple(inputs.get(name, node.inputs)))
        for name, node in reading.structure.nodes.items()
    }
    return replace(reading, structure=Structure(nodes))


def _without_data(about: dict[str, Any], whole: set[str], value: int) -> Tasks:
    """Tasks of these names and columns without a datapoint; cells hold ones, `whole` a value."""
    names = about["tasks"]

    def blank(kind: str, shape: list[int], value: int = 1) -> Tensor:
        return torch.full((len(names), 1, *shape[1:]), value, dtype=_dtype(kind))

    kind, shape = about["y"] or [about["dtype"], [1]]
    y = blank(kind, shape, 1 if _dtype(kind).is_floating_point else value)
    columns = {
        name: blank(kind, shape, value if name in whole else 1)
        for name, (kind, shape) in about["columns"].items()
    }
    tasks = Tasks.from_arrays(y, columns, torch.zeros(len(names), 1, dtype=torch.bool), names)
    # Numbers name no tasks: others may have the same ones.
    origin = None if about["are_named"] else object()
    return replace(tasks, dtype=_dtype(about["dtype"]), origin=origin)


def _dtype(name: str) -> torch.dtype:
    found: torch.dtype = getattr(torch, name.removeprefix("torch."))
    return found


def _encoded(part: Any) -> Any:
    """A strategy as JSON: the names of classes, and their fields."""
    if isinstance(part, type) and issubclass(part, _PARTS):
        return {"class": part.__name__}
    if is_dataclass(part):
        return {
            "class": type(part).__name__,
            "fields": {f.name: _encoded(getattr(part, f.name)) for f in fields(part) if f.init},
        }
    if callable(part):
        raise CheckpointError(
            f"the strategy holds the function {part!r}, which cannot be saved; the posterior is "
            "as it was: give a class, as FineTune(optimiser=torch.optim.SGD), and adapt by it"
        )
    return [_encoded(one) for one in part] if isinstance(part, tuple | list) else part


def _decoded(given: Any, folder: str | Path) -> Any:
    """The strategy again, of classes that are known here: none is imported by its name."""
    if isinstance(given, list):
        return tuple(_decoded(one, folder) for one in given)
    if not isinstance(given, dict):
        return given
    known = {kind.__name__: kind for part in _PARTS for kind in _subclasses(part)}
    kind = known.get(given["class"])
    if kind is None:
        raise CheckpointError(
            f"'{folder}' was saved with a {given['class']}, which is not known here; import the "
            "module that defines it before you load"
        )
    if "fields" not in given:
        return kind
    return kind(**{name: _decoded(value, folder) for name, value in given["fields"].items()})


def _subclasses(kind: type) -> list[type]:
    subclasses: list[type] = kind.__subclasses__()
    return [kind, *(below for sub in subclasses for below in _subclasses(sub))]
