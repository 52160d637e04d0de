"""The Bayes net without plates: all copies of each node, or those that a question needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import networkx as nx

from bayesmeta.graph.copies import Copies, Places, named, unrolled_plates
from bayesmeta.graph.diagram import Diagram
from bayesmeta.graph.vertices import Vertex
from bayesmeta.model.checks import DATA, TASKS

# The plates' indices of a copy.
_At = Mapping[str, int]


def unroll(diagram: Diagram, tasks: int, data: int) -> nx.DiGraph:
    """The net of so many tasks, of so many datapoints each; see `Graph.unroll`."""
    counts = {TASKS: tasks, DATA: data}
    if min(counts.values()) < 1:
        raise ValueError(f"tasks={tasks} and data={data} were given; unroll at least 1 of each")
    return _net(
        diagram,
        {
            v.name: [
                dict(zip(unrolled_plates(v), at, strict=True))
                for at in product(*(range(counts[p]) for p in unrolled_plates(v)))
            ]
            for v in diagram.nodes.values()
        },
    )


def unrolled_for(
    diagram: Diagram, apart: Sequence[Copies], given: Sequence[Copies]
) -> tuple[nx.DiGraph, set[str]]:
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
        the net, each of whose nodes has the name of its `vertex`; and those that are given.
    """
    kept = _Marked(diagram, apart, given).kept()
    known = {
        named(diagram.nodes[copy.vertex], at.values())
        for copy in given
        for at in kept[copy.vertex]
        if copy.has(at.get(TASKS), at.get(DATA))
    }
    return _net(diagram, kept), known


class _Marked:
    """What of the copies is asked about or given, and one copy of each kind."""

    def __init__(self, diagram: Diagram, apart: Sequence[Copies], given: Sequence[Copies]) -> None:
        self.vertices = list(diagram.nodes.values())
        marks = [*enumerate(apart), *((-1, copy) for copy in given)]
        by_row = {v.name for v in self.vertices if DATA in v.plates}
        self.of_tasks = [(k, copy) for k, copy in marks if copy.vertex not in by_row]
        self.of_rows = [(k, copy) for k, copy in marks if copy.vertex in by_row]
        self.places = Places(diagram, [*apart, *given])

    def kept(self) -> dict[str, list[_At]]:
        """By vertex, the copies to keep."""
        marks = [copy for _, copy in (*self.of_tasks, *self.of_rows)]
        tasks = {copy.task for copy in marks if copy.task is not None}
        rows = {copy.row for copy in marks if copy.row is not None and copy.task is None}
        kinds: dict[object, tuple[int, list[list[int]]]] = {}
        for task in [*sorted(tasks), *self.places.alike(tasks, rows)]:
            found = [self._rows(part, task) for part in self.places.parts]
            mine = frozenset((k, c.vertex) for k, c in self.of_tasks if c.has(task, None))
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
        marks = [(k, c) for k, c in self.of_rows if self.places.part(c.vertex) == part]
        rows = sorted({c.row for _, c in marks if c.row is not None and c.task in (None, task)})
        there = [row for row in rows if self.places.has(part, task, row)]
        other = self.places.another(part, task, there)
        found: dict[object, int] = {}
        for row in [*there, *([] if other is None else [other])]:
            kind = frozenset((k, c.vertex) for k, c in marks if c.has(task, row))
            found.setdefault(kind, row)
        return found


def _net(diagram: Diagram, copies: Mapping[str, Sequence[_At]]) -> nx.DiGraph:
    """These copies, and the arrows between those that agree in the plates that they share."""
    net: nx.DiGraph = nx.DiGraph()
    for vertex in diagram.nodes.values():
        for at in copies[vertex.name]:
            net.add_node(named(vertex, at.values()), vertex=vertex.name)
    for parent, child in sorted(diagram.edges):
        above, below = diagram.nodes[parent], diagram.nodes[child]
        for a, b in product(copies[parent], copies[child]):
            if all(a[plate] == b[plate] for plate in a.keys() & b.keys()):
                net.add_edge(named(above, a.values()), named(below, b.values()))
    return net
