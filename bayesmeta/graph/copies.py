"""Copies: the nodes of the unrolled net by name, "y[0,1]", and which of them the tasks have."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch

from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.vertices import QUERY, Vertex
from bayesmeta.model.checks import DATA, TASKS

UNROLLED = (TASKS, DATA)


@dataclass(frozen=True)
class Copies:
    """One copy of a vertex, or all along a plate.

    Attributes:
        vertex: its name.
        task, row: the task and the datapoint, counted from 0; None is all that the data have, and
            where the vertex is in no such plate.
    """

    vertex: str
    task: int | None = None
    row: int | None = None


def vertex_of(diagram: Diagram, name: str) -> Vertex:
    """The vertex that a node of the unrolled net is a copy of.

    Raises:
        TypeError: where the name is no string.
        ValueError: where there is no such node.
    """
    if not isinstance(name, str):
        raise TypeError(f"a node is named by a string, such as 'phi[0]', but {name!r} was given")
    vertex = diagram.nodes.get(name) or diagram.nodes.get(re.sub(r"\[[\d,:]*\]$", "", name))
    if vertex is None:
        raise ValueError(
            f"there is no node '{name}'; the nodes are {', '.join(diagram.nodes)}, with an index "
            "from 0 for the task and one for the datapoint, without spaces: 'phi[0]', 'y[0,1]'; "
            "':' is all of them, and other slices are not understood"
        )
    return vertex


def copies(diagram: Diagram, name: str, *, may_be_all: bool = False) -> Copies:
    """The copies that a name means: "phi[0]"; "y[0,:]" of all datapoints, where they may be many.

    Raises:
        TypeError, ValueError: as `vertex_of`, and for indices that do not fit.
    """
    vertex = vertex_of(diagram, name)
    inside = name.removeprefix(vertex.name).strip("[]")
    given = inside.split(",") if inside else []
    plates = unrolled_plates(vertex)
    if len(given) != len(plates) or not all(part == ":" or part.isdecimal() for part in given):
        example, every = (named(vertex, [k] * len(plates)) for k in (0, ":"))
        raise ValueError(
            f"'{name}' has {len(given)} indices, but '{vertex.name}' is in "
            f"{' and '.join(plates) or 'no plate that is unrolled'}; write it as '{example}'"
            + (f", or among given as '{every}' for all" if plates else "")
        )
    if ":" in given and not may_be_all:
        raise ValueError(
            f"'{name}' stands for many nodes; name one of them here, such as "
            f"'{named(vertex, [0 if part == ':' else part for part in given])}'"
        )
    at = {p: None if part == ":" else int(part) for p, part in zip(plates, given, strict=True)}
    return Copies(vertex.name, at.get(TASKS), at.get(DATA))


def unrolled_plates(vertex: Vertex) -> tuple[str, ...]:
    """Those of its plates that are unrolled, outermost first."""
    return tuple(plate for plate in UNROLLED if plate in vertex.plates)


def named(vertex: Vertex, at: Iterable[object]) -> str:
    """The name of a copy by its indices."""
    inside = ",".join(map(str, at))
    return f"{vertex.name}[{inside}]" if inside else vertex.name


class Places:
    """Which tasks there are, and which datapoints in each: those of the data, and those named.

    Args:
        diagram: a plate diagram, with the tasks on which it was read.
        mentioned: copies that are there, whether or not the data have them: "y[0,99]" is to come.
    """

    def __init__(self, diagram: Diagram, mentioned: Iterable[Copies]) -> None:
        tasks, mentioned = diagram.tasks, list(mentioned)
        parts = [tasks.mask] if tasks.query is None else [tasks.mask, tasks.query.mask]
        # A model without the plate "tasks" is as one task.
        is_by_task = any(TASKS in v.plates for v in diagram.nodes.values())
        self._masks = [(mask if is_by_task else mask[:1]).cpu() for mask in parts]
        self._part = {
            v.name: int(len(parts) == 2 and v.name.endswith(f"_{QUERY}"))
            for v in diagram.nodes.values()
        }
        self._mentioned = {
            (self._part[c.vertex], c.task or 0, c.row)
            for c in mentioned
            if c.row is not None and (c.task is not None or not is_by_task)
        }
        count = len(self._masks[0])
        further = {c.task for c in mentioned if c.task is not None and c.task >= count}
        self.tasks = [*range(count), *sorted(further)]

    def part(self, vertex: str) -> int:
        """Which part of the data a vertex in "data" is in: 0, or 1 of the query."""
        return self._part[vertex]

    @property
    def parts(self) -> range:
        """All parts of the data."""
        return range(len(self._masks))

    def has(self, part: int, task: int, row: int) -> bool:
        """Whether a task has a datapoint, or one to come that is named."""
        return (part, task, row) in self._mentioned or self._is_given(part, task, row)

    def _is_given(self, part: int, task: int, row: int) -> bool:
        mask = self._masks[part]
        return task < len(mask) and row < mask.shape[1] and bool(mask[task, row])

    def among(self, copies: Copies, task: int | None, row: int | None) -> bool:
        """Whether the copy at a place, of the same vertex, is one of some; ":" is of the data."""
        if task is not None and copies.task is None and task >= len(self._masks[0]):
            return False
        if row is not None and copies.row is None:
            return copies.task in (None, task) and self._is_given(
                self._part[copies.vertex], task or 0, row
            )
        return copies.task in (None, task) and copies.row in (None, row)

    def rows(self, part: int, task: int) -> list[int]:
        """All datapoints of a task; of one to come, those named and one more."""
        found = {row for (*where, row) in self._mentioned if where == [part, task]}
        if task < len(self._masks[part]):
            found |= set(self._masks[part][task].nonzero()[:, 0].tolist())
        else:
            found.add(next(row for row in range(len(found) + 1) if row not in found))
        return sorted(found)

    def another(self, part: int, task: int, but: Collection[int]) -> int | None:
        """A datapoint of the task beside those; None where there is no other."""
        return next((row for row in self.rows(part, task) if row not in but), None)

    def alike(self, but: Collection[int], rows: Iterable[int]) -> list[int]:
        """A task of each kind: which of some rows it has, and whether it has others.

        Args:
            but: tasks that are left out.
            rows: the rows.
        """
        asked, kinds = sorted(set(rows)), []
        for mask in self._masks:
            has = mask[:, [row for row in asked if row < mask.shape[1]]]
            kinds += [has, (mask.sum(1) > has.sum(1))[:, None]]
        left = torch.tensor([t for t in range(len(self._masks[0])) if t not in but])
        if not len(left):
            return []
        kind = torch.cat(kinds, 1)[left].unique(dim=0, return_inverse=True)[1].tolist()
        return sorted(int(left[kind.index(k)]) for k in set(kind))
