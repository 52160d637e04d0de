"""Coupling: do tasks read each other, and do datapoints of a task? By moving some of them alone."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from bayesmeta.model.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.model.probes import Change, Replay, permuted
from bayesmeta.running.followed import Column
from bayesmeta.running.sites import Site

# Along which dimension of (..., tasks, data) things are moved.
_TASK, _ROW = -2, -1
# How many sets of datapoints are moved.
_PARTS = 2


class _Kind(enum.Enum):
    """What is moved, and how an error names it."""

    SITE = "{}"
    COLUMN = "tasks.x['{}']"
    OUTCOMES = "tasks.y"


@dataclass(frozen=True)
class _Movable:
    """Values in the plates that can be moved for some tasks, or some datapoints, alone.

    Attributes:
        name: of the site or column; "y" of outcomes.
        values, other: what they are, and what they are moved to.
        axis: where in their shape the tasks are.
        kind: what they are of.
    """

    name: str
    values: Tensor
    other: Tensor
    axis: int
    kind: _Kind

    @property
    def said(self) -> str:
        return self.kind.value.format(self.name)

    def moved(self, chosen: Tensor, along: int) -> Tensor:
        """The values, but the others where chosen (tasks,) or (data,)."""
        at = self.axis + (along == _ROW)
        shape = [1] * self.values.dim()
        shape[at] = len(chosen)
        return torch.where(chosen.reshape(shape), self.other, self.values)


def check_tasks_apart(replay: Replay, sites: Mapping[str, Site]) -> None:
    """Refuse a model in which a task's density reads what is another task's.

    phi, columns and outcomes of some tasks are moved together, and no other task may notice. Which
    tasks is chosen so that of each two either one is moved once without the other (Sperner 1928):
    that takes a few more than log2(tasks) runs.

    Raises:
        StructureError: naming sites and tasks.
    """
    tasks = replay.tasks
    movable = list(_movable(replay, sites, _TASK))
    for chosen in halves(tasks.num_tasks):
        for name, noticing in _all_who_notice(replay, sites, movable, chosen, _TASK).items():
            task = int(noticing.nonzero()[0])
            what, source = _culprit(replay, sites, movable, chosen, name, task)
            raise StructureError(
                f"site '{name}' of task '{tasks.names[task]}' depends on '{what}' of "
                f"{source}; tasks must be independent given theta. "
                f"A value in the plate '{TASKS}' has shape (..., tasks, 1) and lines up with "
                f"(tasks, data) in '{DATA}' as it is: do not squeeze or transpose it. A "
                "statistic over all tasks is taken out of the data before the tasks are made"
            )


def read_elsewhere(
    replay: Replay, sites: Mapping[str, Site]
) -> dict[str, tuple[str | Column, ...]]:
    """Of sites in the plate "data", the columns and sites that they read at other datapoints.

    As `check_tasks_apart`, with datapoints in the place of tasks, and deterministic sites held; a
    few sets of datapoints do, as what reads one other datapoint reads many.
    """
    movable = list(_movable(replay, sites, _ROW))
    parts = halves(replay.tasks.num_data)[:_PARTS]
    if not any(_all_who_notice(replay, sites, movable, chosen, _ROW) for chosen in parts):
        return {}
    outcomes = [s.name for s in sites.values() if s.is_observed and DATA in plate_names(s)]
    found: dict[str, list[str | Column]] = {}
    for one in movable:
        read: Sequence[str | Column] = outcomes
        if one.kind is not _Kind.OUTCOMES:
            read = [Column(one.name) if one.kind is _Kind.COLUMN else one.name]
        for chosen in parts:
            for name in _all_who_notice(replay, sites, [one], chosen, _ROW):
                found.setdefault(name, []).extend(read)
    return {name: tuple(dict.fromkeys(read)) for name, read in found.items()}


def halves(count: int) -> list[Tensor]:
    """Sets of some of so many things, as masks: of each two, either is in one without the other."""
    if count < 2:
        return []
    size = next(k for k in range(2, count + 2) if math.comb(k, k // 2) >= count)
    chosen = torch.zeros(size, count, dtype=torch.bool)
    # In random order, so that neighbours differ in each of the sets.
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    for k, code in zip(order, combinations(range(size), size // 2), strict=False):
        chosen[list(code), k] = True
    return list(chosen)


def _movable(replay: Replay, sites: Mapping[str, Site], along: int) -> Iterator[_Movable]:
    tasks = replay.tasks
    for name, value in replay.values.items():
        names = plate_names(sites[name])
        # A parameter in there is refused with its reason later.
        if (TASKS if along == _TASK else DATA) in names and not sites[name].is_param:
            axis = value.dim() - 2 - len(replay.fns[name].event_shape)
            yield _Movable(name, value, replay.others(name, far=False)[0], axis, _Kind.SITE)
    for name, column in tasks.x.items():
        if along == _TASK or column.shape[1] == tasks.num_data:
            yield _Movable(name, column, permuted(column, tasks.mask), 0, _Kind.COLUMN)
    if tasks.y is not None:
        yield _Movable("y", tasks.y, permuted(tasks.y, tasks.mask), 0, _Kind.OUTCOMES)


def _change(replay: Replay, movable: Sequence[_Movable], chosen: Tensor, along: int) -> Change:
    moved: dict[_Kind, dict[str, Tensor]] = {kind: {} for kind in _Kind}
    for one in movable:
        moved[one.kind][one.name] = one.moved(chosen, along)
    return Change(
        sites=moved[_Kind.SITE],
        columns=moved[_Kind.COLUMN],
        y=moved[_Kind.OUTCOMES].get("y"),
        held=replay.computed if along == _ROW else {},
    )


def _all_who_notice(
    replay: Replay,
    sites: Mapping[str, Site],
    movable: Sequence[_Movable],
    chosen: Tensor,
    along: int,
) -> dict[str, Tensor]:
    """`_who_notices` if all are moved together, or each alone where the model runs on that alone.

    Columns that belong together may be torn apart when they are moved.
    """
    try:
        return _who_notices(replay, sites, movable, chosen, along)
    except Exception:  # an index, for one, that is out of range now
        found: dict[str, Tensor] = {}
        for one in movable if len(movable) > 1 else ():
            found |= _all_who_notice(replay, sites, [one], chosen, along)
        return found


def _who_notices(
    replay: Replay,
    sites: Mapping[str, Site],
    movable: Sequence[_Movable],
    chosen: Tensor,
    along: int,
) -> dict[str, Tensor]:
    """Sites that differ where nothing was moved, and where they do, (tasks,) or (data,)."""
    found = {}
    for name, cells in replay.differing(_change(replay, movable, chosen, along)).items():
        site = sites[name]
        if site.is_deterministic if along == _TASK else DATA not in plate_names(site):
            continue
        if TASKS not in plate_names(site) or cells.dim() < 2 or cells.shape[along] != len(chosen):
            continue
        if along == _ROW and cells.shape[-2:] == replay.tasks.mask.shape:
            cells = cells & replay.tasks.mask
        where = cells.movedim(along, 0).flatten(1).any(1) & ~chosen
        if where.any():
            found[name] = where
    return found


def _culprit(
    replay: Replay,
    sites: Mapping[str, Site],
    movable: Sequence[_Movable],
    chosen: Tensor,
    name: str,
    task: int,
) -> tuple[str, str]:
    """What a site of a task reads, and of which other task."""

    def notices(one: _Movable, chosen: Tensor) -> bool:
        where = _all_who_notice(replay, sites, [one], chosen, _TASK).get(name)
        return where is not None and bool(where[task])

    for one in movable:
        if not notices(one, chosen):
            continue
        for other in chosen.nonzero()[:, 0].tolist():
            alone = torch.zeros_like(chosen)
            alone[other] = True
            if notices(one, alone):
                return one.said, f"task '{replay.tasks.names[other]}'"
        return one.said, "other tasks"
    return "what is in the plate", "other tasks"
