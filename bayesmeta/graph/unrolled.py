"""The Bayes net without plates: all copies of each node, or those that a question needs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

from bayesmeta.diagram.arrows import Arrows
from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.graph.copies import Copies, Places, named, unrolled_plates
from bayesmeta.model.checks import DATA, TASKS
from bayesmeta.model.structure import Role

if TYPE_CHECKING:
    import networkx as nx

# The plates' indices of a copy.
_At = Mapping[str, int]


def unroll(diagram: Diagram, tasks: int, data: int) -> nx.DiGraph:
    """The net of so many tasks, of so many datapoints each; see `Graph.unroll`."""
    counts = {TASKS: tasks, DATA: data}
    if min(counts.values()) < 1:
        raise ValueError(f"tasks={tasks} and data={data} were given; unroll at least 1 of each")
    net, _ = _net(
        diagram,
        {
            v.name: [
                dict(zip(unrolled_plates(v), at, strict=True))
                for at in product(*(range(counts[p]) for p in unrolled_plates(v)))
            ]
            for v in diagram.nodes.values()
        },
    )
    return net


def unrolled_for(
    diagram: Diagram, apart: Sequence[Copies], given: Sequence[Copies]
) -> tuple[nx.DiGraph, set[str], set[str]]:
    """A part of the net that answers whether two nodes are separated as the whole does.

    Datapoints of a task are alike where the same of their nodes are given, and tasks where the same
    of theirs are and they have the same kinds of datapoints; the two nodes are like no other. One
    of each kind is kept. What is kept is part of the whole, and the whole maps onto it, copy by
    copy, with all arrows and all that is given; so each active walk of one is one of the other
    (docs/decisions/0023).

    Args:
        diagram: the plate diagram.
        apart: the two nodes.
        given: what is known.

    Returns:
        the net, each of whose nodes has the name of its `vertex`; those that are given, and those
        that are functions of what they read.
    """
    marked = _Marked(diagram, apart, given)
    kept = marked.kept()
    known = {
        named(diagram.nodes[name], at.values())
        for name in {copy.vertex for copy in given}
        for at in kept[name]
        if marked.is_given(name, at.get(TASKS), at.get(DATA))
    }
    net, computed = _net(diagram, kept)
    return net, known, computed


class _Marked:
    """What of the copies is asked about or given, and one copy of each kind."""

    def __init__(self, diagram: Diagram, apart: Sequence[Copies], given: Sequence[Copies]) -> None:
        self.vertices = list(diagram.nodes.values())
        self.by_row = {v.name for v in self.vertices if DATA in v.plates}
        self.places = Places(diagram, [*apart, *given])
        # By the task that they name, which may be all; of what is given -1 is the mark.
        self.marks: dict[int | None, list[tuple[int, Copies]]] = {}
        for k, copy in (*enumerate(apart), *((-1, copy) for copy in dict.fromkeys(given))):
            self.marks.setdefault(copy.task, []).append((k, copy))

    def at(self, task: int | None) -> list[tuple[int, Copies]]:
        """The marks that may be on copies of a task."""
        return [*self.marks.get(None, ()), *(self.marks.get(task, ()) if task is not None else ())]

    def is_given(self, vertex: str, task: int | None, row: int | None) -> bool:
        """Whether a copy is given."""
        return any(
            k < 0 and copy.vertex == vertex and self.places.among(copy, task, row)
            for k, copy in self.at(task)
        )

    def kept(self) -> dict[str, list[_At]]:
        """By vertex, the copies to keep."""
        tasks = {task for task in self.marks if task is not None}
        rows = {copy.row for _, copy in self.marks.get(None, ()) if copy.row is not None}
        kinds: dict[object, tuple[int, list[list[int]]]] = {}
        for task in [*sorted(tasks), *self.places.alike(tasks, rows)]:
            found = [self._rows(part, task) for part in self.places.parts]
            mine = frozenset(
                (k, c.vertex)
                for k, c in self.at(task)
                if c.vertex not in self.by_row and self.places.among(c, task, None)
            )
            kind = mine, *(frozenset(rows) for rows in found)
            kinds.setdefault(kind, (task, [list(rows.values()) for rows in found]))
        return {v.name: self._copies(v, kinds.values()) for v in self.vertices}

    def _copies(self, vertex: Vertex, kept: Iterable[tuple[int, list[list[int]]]]) -> list[_At]:
        plates = unrolled_plates(vertex)
        part = self.places.part(vertex.name)
        return [
            {plate: {TASKS: task, DATA: row}[plate] for plate in plates}
            for task, rows in (kept if plates else [(0, [[0]])])
            for row in (rows[part] if DATA in plates else [0])
        ]

    def _rows(self, part: int, task: int) -> dict[object, int]:
        """A datapoint of each kind, which is what of it is marked."""
        marks = [
            (k, c)
            for k, c in self.at(task)
            if c.vertex in self.by_row and self.places.part(c.vertex) == part
        ]
        of_row: dict[int | None, list[tuple[int, Copies]]] = {}
        for k, copy in marks:
            of_row.setdefault(copy.row, []).append((k, copy))
        named_rows = {row for row in of_row if row is not None}
        there = [row for row in sorted(named_rows) if self.places.has(part, task, row)]
        other = self.places.another(part, task, named_rows)
        found: dict[object, int] = {}
        for row in [*there, *([] if other is None else [other])]:
            on = [*of_row.get(None, ()), *of_row.get(row, ())]
            kind = frozenset((k, c.vertex) for k, c in on if self.places.among(c, task, row))
            found.setdefault(kind, row)
        return found


def _net(diagram: Diagram, copies: Mapping[str, Sequence[_At]]) -> tuple[nx.DiGraph, set[str]]:
    """These copies with their arrows, and those that are functions of what they read.

    An arrow joins copies that agree in the plates that they share. What is read at other datapoints
    too is read by way of a node "x[0,:]", all of it in a task. A tied group's "y[0,:] as one" reads
    what any of them does, and they read that.
    """
    import networkx as nx

    arrows = Arrows(diagram.nodes)
    net: nx.DiGraph = nx.DiGraph()
    for vertex in diagram.nodes.values():
        for at in copies[vertex.name]:
            net.add_node(named(vertex, at.values()), vertex=vertex.name)
    computed = {
        node
        for node, name in net.nodes("vertex")
        if diagram.nodes[name].role is Role.DETERMINISTIC and name not in arrows.tied
    }
    for child in diagram.nodes.values():
        group = arrows.tied.get(child.name)
        for at in copies[child.name]:
            node = reader = named(child, at.values())
            if group:
                reader = f"{_whole(diagram, group, at, {DATA})} as one"
                net.add_node(reader, vertex=child.name)
                net.add_edge(reader, node)
            for arrow in arrows.into(child.name):
                target = reader
                if arrow.over and not group:
                    target = _whole(diagram, (arrow.parent,), at, arrow.over)
                    net.add_node(target, vertex=arrow.parent)
                    net.add_edge(target, node)
                    computed.add(target)
                for other in copies[arrow.parent]:
                    shared = (at.keys() & other.keys()) - arrow.over
                    if all(at[plate] == other[plate] for plate in shared):
                        above = named(diagram.nodes[arrow.parent], other.values())
                        net.add_edge(above, target)
    return net, computed


def _whole(diagram: Diagram, names: Sequence[str], at: _At, over: Collection[str]) -> str:
    """The name of all copies over some plates: "y[0,:]", "phi[:]"."""
    return ", ".join(
        named(
            diagram.nodes[name],
            [
                ":" if plate in over or plate not in at else at[plate]
                for plate in unrolled_plates(diagram.nodes[name])
            ],
        )
        for name in names
    )
