"""The numbers of an outcome: which site observes which, and what else of the model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.model.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.model.probes import Change, Replay, permuted
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
        found = torch.where(_same(other, y), before, other)
    return found


def readers_of_outcomes(replay: Replay, sites: Mapping[str, Site]) -> OutcomeReaders:
    """By moving each number of y: whose value is that, and whose density moves with it.

    Two sites that observe the same number of a datapoint, as whether it is positive and how large,
    are a parent and a child in the model's order.

    Raises:
        StructureError: where nothing moves with y, so that other data are observed.
    """
    tasks, order = replay.tasks, {name: k for k, name in enumerate(sites)}
    if tasks.y is None:
        return OutcomeReaders({}, {}, ())
    owners: dict[int | None, tuple[str, ...]] = {}
    children: dict[str, set[str]] = {}
    priors: list[str] = []
    is_read, is_constant = False, True
    for part in parts_of(tasks.y):
        # In other places; and all one value, as their mean is the same in other places.
        for moved in (permuted(tasks.y, tasks.mask), tasks.y[tasks.mask][0].expand_as(tasks.y)):
            other = in_part(tasks.y, moved, part)
            is_constant = is_constant and bool(_same(other, tasks.y).all())
            try:
                cells, changed = replay.observed(Change(y=other, held=replay.computed))
            except Exception:  # y that the model does not take says nothing
                continue
            is_read = is_read or bool(cells) or bool(changed)
            mine = tuple(name for name in sites if name in changed)
            owners[part] = tuple(dict.fromkeys((*owners.get(part, ()), *mine)))
            for name, where in cells.items():
                site = sites[name]
                is_latent = not (site.is_observed or site.is_deterministic)
                if is_latent and DATA not in plate_names(site):
                    priors.append(name)
                    continue
                for owner in mine:
                    is_before = order[owner] < order[name] or not is_latent and name not in changed
                    if owner != name and is_before and _meet(where, cells.get(owner)):
                        children.setdefault(owner, set()).add(name)
    is_for_tasks = any(TASKS in plate_names(site) for site in sites.values())
    if is_for_tasks and not is_read and not is_constant:
        raise StructureError(
            "no site's density moves with tasks.y, so that the model observes other data than "
            'those of the tasks that it is given; write obs=tasks.y, as in pyro.sample("y", ..., '
            "obs=tasks.y)"
        )
    found = {name: frozenset(read) for name, read in children.items()}
    return OutcomeReaders(owners, found, tuple(dict.fromkeys(priors)))


def _meet(one: Tensor, other: Tensor | None) -> bool:
    """Whether there is a place at which both move."""
    if other is None:
        return False
    try:
        return bool((one & other).any())
    except RuntimeError:
        return True


def _same(one: Tensor, other: Tensor) -> Tensor:
    return (one == other) | (one.isnan() & other.isnan())
