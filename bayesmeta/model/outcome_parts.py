"""The numbers of an outcome: which site observes which, and what else of the model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.model.probes import Change, Replay, differ, permuted
from bayesmeta.running.sites import Site

# The sites that observe each number of y.
Owners = Mapping[int | None, tuple[str, ...]]

_MOST_PARTS = 16


@dataclass(frozen=True)
class OutcomeReaders:
    """Who observes y, and who else reads it.

    Attributes:
        owners: the observed sites whose values are that number of y.
        children: by such a site, what else moves with its values: another outcome, a factor, a
            deterministic site.
        priors: latents of theta or phi whose densities read y.
    """

    owners: Owners
    children: Mapping[str, frozenset[str]]
    priors: tuple[str, ...]


def parts_of(y: Tensor) -> list[int | None]:
    """The numbers of an outcome (tasks, data, numbers), or that it is one."""
    if y.dim() != 3 or not 1 < y.shape[2] <= _MOST_PARTS:
        return [None]
    return list(range(y.shape[2]))


def in_part(y: Tensor, other: Tensor, part: int | None) -> Tensor:
    """y, but the other in that number."""
    if part is None:
        return other
    return torch.where(torch.arange(y.shape[2], device=y.device) == part, other, y)


def together(y: Tensor | None, moved: Iterable[Tensor]) -> Tensor | None:
    """y with all that was moved in it; None where nothing was."""
    found = None
    for other in moved:
        assert y is not None
        before = y if found is None else found
        found = torch.where(differ(other, y), other, before)
    return found


def readers_of_outcomes(replay: Replay, sites: Mapping[str, Site]) -> OutcomeReaders:
    """By moving each number of y: whose value is that, and whose density moves with it.

    Two sites that observe the same number of a datapoint, as whether it is positive and how large,
    are a parent and a child in the model's order.

    Raises:
        StructureError: where nothing moves with y, so that other data are observed.
    """
    tasks, notes = replay.tasks, _Notes(sites)
    is_read = is_constant = tasks.y is None or not bool(tasks.mask.any())
    for part, other, moves_anything in _elsewhere(tasks):
        is_constant = is_constant or not moves_anything
        try:
            cells, changed = replay.observed(Change(y=other, held=replay.computed))
        except Exception:  # y that the model does not take says nothing
            is_read = True
            continue
        is_read = is_read or bool(cells) or bool(changed)
        notes.add(part, cells, changed)
    is_for_tasks = any(TASKS in plate_names(site) for site in sites.values())
    if is_for_tasks and not is_read and not is_constant:
        raise StructureError(
            "no site's density moves with tasks.y, so that the model observes other data than "
            'those of the tasks that it is given; write obs=tasks.y, as in pyro.sample("y", ..., '
            "obs=tasks.y)"
        )
    children = {name: frozenset(read) for name, read in notes.children.items()}
    return OutcomeReaders(notes.owners, children, tuple(dict.fromkeys(notes.priors)))


def _elsewhere(tasks: Tasks) -> Iterator[tuple[int | None, Tensor, bool]]:
    """Each number of y in other places, and all one value, as a mean is the same in others.

    With each, whether it is another y.
    """
    if tasks.y is None or not tasks.mask.any():
        return
    one_value = tasks.y[tasks.mask][0].expand_as(tasks.y)
    for part in parts_of(tasks.y):
        for moved in (permuted(tasks.y, tasks.mask), one_value):
            other = in_part(tasks.y, moved, part)
            yield part, other, bool(differ(other, tasks.y).any())


class _Notes:
    """What was seen of owners and readers so far."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        self.sites, self.order = sites, {name: k for k, name in enumerate(sites)}
        self.owners: dict[int | None, tuple[str, ...]] = {}
        self.children: dict[str, set[str]] = {}
        self.priors: list[str] = []

    def add(self, part: int | None, cells: Mapping[str, Tensor], changed: Set[str]) -> None:
        """Where sites moved with that number of y, and whose values changed."""
        mine = tuple(name for name in self.sites if name in changed)
        self.owners[part] = tuple(dict.fromkeys((*self.owners.get(part, ()), *mine)))
        for name, where in cells.items():
            site = self.sites[name]
            is_latent = not (site.is_observed or site.is_deterministic)
            if is_latent and DATA not in plate_names(site):
                self.priors.append(name)
                continue
            for owner in mine:
                is_leaf = not is_latent and name not in changed
                is_after = is_leaf or self.order[owner] < self.order[name]
                if owner != name and is_after and _meet(where, cells.get(owner)):
                    self.children.setdefault(owner, set()).add(name)


def _meet(one: Tensor, other: Tensor | None) -> bool:
    """Whether there is a place at which both move."""
    if other is None:
        return False
    try:
        return bool((one & other).any())
    except RuntimeError:
        return True
