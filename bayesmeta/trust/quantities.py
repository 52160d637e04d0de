"""The numbers whose ranks are looked at, of a posterior of many draws, or of the truth alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.structure import Role, Structure
from bayesmeta.posterior.posterior import Posterior

# Of one site: that many of its numbers, from the first to the last.
_MOST = 8
LOG_LIKELIHOOD = "log likelihood"

# Draws of each number by its name, (draws,).
Numbers = dict[str, Tensor]


@dataclass(frozen=True)
class Picked:
    """Which task is looked at in a simulation, and which of its datapoints; -1 is none."""

    task: int
    row: int

    @classmethod
    def among(cls, tasks: Tasks, generator: torch.Generator) -> Picked:
        """A task, and a datapoint of it, by chance."""
        task = int(torch.randint(len(tasks), (), generator=generator))
        rows = tasks.mask[task].cpu().nonzero()[:, 0]
        if not len(rows):
            return cls(task, -1)
        return cls(task, int(rows[torch.randint(len(rows), (), generator=generator)]))


def shared_numbers(posterior: Posterior, most: int | None = _MOST) -> Numbers:
    """Each number of theta, and of what the model computes of it, as "mu" and "beta[0]".

    Args:
        posterior: of whose theta.
        most: so many of a site; None is all.
    """
    found = Numbers()
    for name, draws in posterior.theta.items():
        found |= numbers_of(name, draws.flatten(0, 1), most)
    return found


def task_numbers(posterior: Posterior, picked: Picked, word: str = "") -> Numbers:
    """Each number of phi of one task, and of a datapoint of it where a site has one each.

    Args:
        posterior: of whose tasks.
        picked: which of these.
        word: what names begin with, as "new ".
    """
    found, structure = Numbers(), posterior.structure
    for name, draws in posterior.phi.items():
        node, flat = structure.nodes[name], draws.flatten(0, 1)
        if not node.is_by_task:
            # Of all tasks together, among which a new one is not.
            if not word:
                found |= numbers_of(name, flat)
        elif not _is_by_row(structure, name):
            found |= numbers_of(word + name, flat[:, picked.task])
        elif picked.row >= 0:
            found |= numbers_of(word + name, flat[:, picked.task, picked.row])
    return found


def row_numbers(values: Mapping[str, Tensor], picked: Picked) -> Numbers:
    """Each number of the outcomes (draws, tasks, data, ...) of one datapoint, as "new y"."""
    found = Numbers()
    for name, draws in values.items() if picked.row >= 0 else ():
        found |= numbers_of(f"new {name}", draws[:, picked.task, picked.row])
    return found


def log_likelihood(posterior: Posterior, tasks: Tasks) -> Numbers:
    """log p(y | theta, phi) of these of its tasks, all together: a number that depends on data."""
    return {LOG_LIKELIHOOD: posterior.log_likelihood(tasks).sum((-1, -2)).flatten()}


def _is_by_row(structure: Structure, name: str) -> bool:
    node = structure.nodes[name]
    return node.role is Role.LOCAL or node.is_by_datapoint


def numbers_of(name: str, draws: Tensor, most: int | None = _MOST) -> Numbers:
    """Of draws (draws, ...), each number (draws,) with its place, so many of them at most."""
    flat = draws.flatten(1) if draws.dim() > 1 else draws[:, None]
    count, shape = flat.shape[1], draws.shape[1:]
    places = torch.linspace(0, count - 1, min(most or count, count)).round().long().tolist()
    return {_named(name, place, shape): flat[:, place] for place in places}


def _named(name: str, place: int, shape: torch.Size) -> str:
    if not shape:
        return name
    at = [int(i) for i in torch.unravel_index(torch.tensor(place), shape)]
    return f"{name}[{', '.join(map(str, at))}]"
