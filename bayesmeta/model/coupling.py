"""Coupling: do tasks read each other, and do datapoints of a task? By moving some of them alone."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations

import torch
from torch import Tensor

from bayesmeta.model.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.model.outcome_parts import Owners, in_part, parts_of, together
from bayesmeta.model.probes import Change, Replay, permuted
from bayesmeta.running.followed import Column
from bayesmeta.running.handlers import run
from bayesmeta.running.sites import Site

# Along which dimension of (..., tasks, data) things are moved.
_TASK, _ROW = -2, -1
# How many sets of datapoints are moved.
_PARTS = 2
# So many tasks stand for all of large data; of more numbers, as images are, no levels are tried.
_FEW, _FEW_CELLS, _MOST_NUMBERS = 6, 5_000, 50_000


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
        part: which number of an outcome is moved; None moves all.
    """

    name: str
    values: Tensor
    other: Tensor
    axis: int
    kind: _Kind
    part: int | None = None

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
    that takes a few more than log2(tasks) runs. A statistic over all tasks may be the same when
    values change places; so all are put at the highest value, or the lowest, and half moved away.

    Raises:
        StructureError: naming sites and tasks.
    """
    _refuse(_moved(replay, sites, _TASK, halves(replay.tasks.num_tasks)))
    if (few := _few(replay)) is not None:
        _refuse(_levelled(few, sites, _TASK, halves(few.tasks.num_tasks)))


def _refuse(probes: Iterator[_Probe]) -> None:
    for probe in probes:
        for name, noticing in probe.who_notice().items():
            task, tasks = int(noticing.nonzero()[0]), probe.replay.tasks
            what, source = _culprit(probe, name, task)
            raise StructureError(
                f"site '{name}' of task '{tasks.names[task]}' depends on '{what}' of "
                f"{source}; tasks must be independent given theta. "
                f"A value in the plate '{TASKS}' has shape (..., tasks, 1) and lines up with "
                f"(tasks, data) in '{DATA}' as it is: do not squeeze or transpose it. A "
                "statistic over all tasks is taken out of the data before the tasks are made"
            )


def read_elsewhere(
    replay: Replay, sites: Mapping[str, Site], owners: Owners
) -> dict[str, tuple[str | Column, ...]]:
    """Of sites in the plate "data", the columns and sites that they read at other datapoints.

    As `check_tasks_apart`, with datapoints in the place of tasks, and deterministic sites held; a
    few sets of datapoints do, as what reads one other datapoint reads many.
    """
    replay = _few(replay) or replay
    parts = halves(replay.tasks.num_data)[:_PARTS]
    probes = chain(*(by(replay, sites, _ROW, parts) for by in (_moved, _levelled)))
    return _read(probes, owners)


def read_of_others(
    replay: Replay, sites: Mapping[str, Site], owners: Owners
) -> dict[str, tuple[str | Column, ...]]:
    """Of deterministic sites in the plate "tasks", the columns and sites of other tasks they read.

    Such a site only reports, as a rank among tasks does: what reads it is refused.
    """
    if not any(s.is_deterministic and TASKS in plate_names(s) for s in sites.values()):
        return {}
    parts = halves(replay.tasks.num_tasks)
    probes = (*_moved(replay, sites, _TASK, parts), *_levelled(replay, sites, _TASK, parts))
    return _read((replace(probe, is_of_computed=True) for probe in probes), owners)


def _read(probes: Iterable[_Probe], owners: Owners) -> dict[str, tuple[str | Column, ...]]:
    """What each site that notices something reads."""
    found: dict[str, list[str | Column]] = {}
    for probe in probes:
        if not probe.who_notice():
            continue
        for one in probe.movable:
            read: Sequence[str | Column] = [one.name]
            if one.kind is not _Kind.SITE:
                is_y = one.kind is _Kind.OUTCOMES
                read = owners.get(one.part, ()) if is_y else [Column(one.name)]
            for name in probe.by([one]).who_notice():
                found.setdefault(name, []).extend(read)
    return {name: tuple(dict.fromkeys(read)) for name, read in found.items()}


def _few(replay: Replay) -> Replay | None:
    """The model on a few of the largest tasks, where data are large; None where it does not run."""
    tasks = replay.tasks
    if tasks.num_tasks <= _FEW or tasks.mask.numel() <= _FEW_CELLS:
        return replay
    largest = tasks.sizes.argsort(descending=True)[:_FEW]
    some = tasks.select(largest.sort().values)
    try:
        return Replay(replay.model, some, run(replay.model, some))
    except Exception:  # a model that holds data of its own may run on all tasks alone
        return None


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
        for part in parts_of(tasks.y):
            other = in_part(tasks.y, permuted(tasks.y, tasks.mask), part)
            yield _Movable(f"y{part}", tasks.y, other, 0, _Kind.OUTCOMES, part)


def _moved(
    replay: Replay, sites: Mapping[str, Site], along: int, parts: Sequence[Tensor]
) -> Iterator[_Probe]:
    """Values that change places, in each part."""
    movable = list(_movable(replay, sites, along))
    for chosen in parts:
        yield _Probe(replay, sites, movable, chosen, along)


def _levelled(
    replay: Replay, sites: Mapping[str, Site], along: int, parts: Sequence[Tensor]
) -> Iterator[_Probe]:
    """All at one of their values, and some moved to another; where there are few numbers."""
    movable = list(_movable(replay, sites, along))
    if (
        not parts
        or not replay.tasks.mask.any()
        or sum(m.values.numel() for m in movable) > _MOST_NUMBERS
    ):
        return
    low, middle, high = (
        [_level(m, replay.tasks.mask, q) for m in movable] for q in (0.0, 0.5, 1.0)
    )
    for values, others in ((high, low), (low, high), (middle, high)):
        level = zip(movable, values, others, strict=True)
        at_level = [replace(m, values=v, other=o) for m, v, o in level]
        for chosen in parts if values is high and len(parts) <= _FEW else (parts[0], ~parts[0]):
            yield _Probe(replay, sites, at_level, chosen, along, is_level=True)


def _level(one: _Movable, mask: Tensor, share: float) -> Tensor:
    """One of the values at all places: that above so much of the others, by its sum."""
    cells = one.values.movedim((one.axis, one.axis + 1), (0, 1))
    there = cells[mask] if cells.shape[:2] == mask.shape else cells.flatten(0, 1)
    order = there.double().flatten(1).sum(1).argsort() if there.dim() > 1 else there.argsort()
    found = there[order[int(share * (len(order) - 1))]].expand(cells.shape)
    return in_part(one.values, found.movedim((0, 1), (one.axis, one.axis + 1)), one.part).clone()


@dataclass(frozen=True)
class _Probe:
    """Some values moved in some tasks, or datapoints.

    Attributes:
        replay, sites: the model.
        movable: what is moved.
        chosen: where, (tasks,) or (data,).
        along: which of both.
        is_level: whether the values that are moved are not those of the first run.
        is_of_computed: whether it is asked of deterministic sites, all of which are held.
    """

    replay: Replay
    sites: Mapping[str, Site]
    movable: Sequence[_Movable]
    chosen: Tensor
    along: int
    is_level: bool = False
    is_of_computed: bool = False

    def by(self, movable: Sequence[_Movable]) -> _Probe:
        """The same of some of it alone."""
        return replace(self, movable=movable)

    def who_notice(self) -> dict[str, Tensor]:
        """Sites that differ where nothing was moved, and where they do, (tasks,) or (data,).

        Columns that belong together may be torn apart when they are moved, and the model not run:
        each is moved alone then.
        """
        try:
            base = None
            if self.is_level:
                base = self.replay.shown(self._change(torch.zeros_like(self.chosen)))
            differing = self.replay.differing(self._change(self.chosen), base=base)
        except Exception:  # an index, for one, that is out of range now
            found: dict[str, Tensor] = {}
            for one in self.movable if len(self.movable) > 1 else ():
                found |= self.by([one]).who_notice()
            return found
        return {n: where for n, c in differing.items() if (where := self._where(n, c)) is not None}

    def _change(self, chosen: Tensor) -> Change:
        moved: dict[_Kind, dict[str, Tensor]] = {kind: {} for kind in _Kind}
        for one in self.movable:
            moved[one.kind][one.name] = one.moved(chosen, self.along)
        return Change(
            sites=moved[_Kind.SITE],
            columns=moved[_Kind.COLUMN],
            y=together(self.replay.tasks.y, moved[_Kind.OUTCOMES].values()),
            held=self.replay.computed if self.along == _ROW or self.is_of_computed else {},
        )

    def _where(self, name: str, cells: Tensor) -> Tensor | None:
        """Where a site noticed what was moved elsewhere."""
        site, mask = self.sites[name], self.replay.tasks.mask
        if self.along == _ROW and DATA not in plate_names(site):
            return None
        if self.along == _TASK and site.is_deterministic is not self.is_of_computed:
            return None
        is_there = TASKS in plate_names(site) and cells.dim() >= 2
        if not is_there or cells.shape[self.along] != len(self.chosen):
            return None
        if self.along == _ROW and cells.shape[-2:] == mask.shape:
            cells = cells & mask
        where = cells.movedim(self.along, 0).flatten(1).any(1) & ~self.chosen
        return where if where.any() else None


def _culprit(probe: _Probe, name: str, task: int) -> tuple[str, str]:
    """What a site of a task reads, and of which other task."""

    def notices(probe: _Probe) -> bool:
        where = probe.who_notice().get(name)
        return where is not None and bool(where[task])

    for one in probe.movable:
        if not notices(probe.by([one])):
            continue
        for other in probe.chosen.nonzero()[:, 0].tolist():
            alone = torch.zeros_like(probe.chosen)
            alone[other] = True
            if notices(replace(probe.by([one]), chosen=alone)):
                return one.said, f"task '{probe.replay.tasks.names[other]}'"
        return one.said, "other tasks"
    return "what is in the plate", "other tasks"
