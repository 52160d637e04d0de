"""The Markov blanket of a copy: parents, children, and the children's other parents."""

from __future__ import annotations

from collections.abc import Iterator

from bayesmeta.diagram.arrows import Arrows
from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.graph.copies import Copies, Places, named, unrolled_plates
from bayesmeta.model.checks import DATA, TASKS


def blanket(diagram: Diagram, node: Copies) -> tuple[str, ...]:
    """Names of the nodes, in the model's order; ":" where all tasks, or all datapoints, are in it.

    An arrow joins copies that agree in the plates that they share, so that the neighbours of a copy
    are all copies along the plates that it is not in.
    """
    arrows = Arrows(diagram.nodes)
    around = set(_parents(diagram, arrows, node))
    for vertex in diagram.nodes.values():
        wide = [a.over for a in arrows.into(vertex.name) if a.parent == node.vertex]
        if wide or node.vertex in arrows.tied.get(vertex.name, ()):
            over = frozenset({DATA}) if vertex.name in arrows.tied else wide[0]
            child = _beside(vertex, node, over)
            around |= {child, *_parents(diagram, arrows, child)}
    places = Places(diagram, [node])
    return tuple(
        name
        for vertex in diagram.nodes.values()
        for name in _names(vertex, {c for c in around if c.vertex == vertex.name}, node, places)
    )


def _parents(diagram: Diagram, arrows: Arrows, child: Copies) -> Iterator[Copies]:
    for arrow in arrows.into(child.vertex):
        yield _beside(diagram.nodes[arrow.parent], child, arrow.over)
    for name in arrows.tied.get(child.vertex, ()):
        yield _beside(diagram.nodes[name], child, frozenset({DATA}))


def _beside(vertex: Vertex, node: Copies, over: frozenset[str]) -> Copies:
    """The vertex's copies that an arrow joins to the node."""
    return Copies(
        vertex.name,
        node.task if TASKS in vertex.plates and TASKS not in over else None,
        node.row if DATA in vertex.plates and DATA not in over else None,
    )


def _names(vertex: Vertex, found: set[Copies], node: Copies, places: Places) -> Iterator[str]:
    """The copies found of a vertex, less the node itself, in as few names as can be."""
    plates = unrolled_plates(vertex)
    split = {p for c in found for p in _split(c, node, places)}
    wide = {c for c in split if not any(o != c and _covers(o, c) for o in split)}
    for copy in sorted(wide, key=lambda c: (c.task or 0, c.row or 0)):
        at = {TASKS: copy.task, DATA: copy.row}
        yield named(vertex, [":" if at[p] is None else at[p] for p in plates])


def _split(copies: Copies, node: Copies, places: Places) -> Iterator[Copies]:
    """The copies, without the node where it is among them."""
    if copies.vertex != node.vertex or not _covers(copies, node):
        yield copies
        return
    if copies.task is None and node.task is not None:
        for task in places.tasks:
            if task != node.task:
                yield Copies(copies.vertex, task, copies.row)
    if copies.row is None and node.row is not None:
        for row in places.rows(places.part(node.vertex), node.task or 0):
            if row != node.row:
                yield Copies(copies.vertex, node.task, row)


def _covers(one: Copies, other: Copies) -> bool:
    return one.task in (None, other.task) and one.row in (None, other.row)
