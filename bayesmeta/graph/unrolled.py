"""The Bayes net without plates: copies of each node, by task and datapoint, and their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import product

import networkx as nx

from bayesmeta.graph.diagram import Diagram
from bayesmeta.graph.vertices import Vertex
from bayesmeta.model.checks import DATA, TASKS

_COUNTED = (TASKS, DATA)


def unroll(diagram: Diagram, tasks: int, data: int) -> nx.DiGraph:
    """The net of so many tasks, of so many datapoints each; see `Graph.unroll`."""
    counts = {TASKS: tasks, DATA: data}
    if min(counts.values()) < 1:
        raise ValueError(f"tasks={tasks} and data={data} were given; unroll at least 1 of each")
    net: nx.DiGraph = nx.DiGraph()
    copies = {
        v.name: [
            dict(zip(_unrolled(v), at, strict=True))
            for at in product(*(range(counts[p]) for p in _unrolled(v)))
        ]
        for v in diagram.nodes.values()
    }
    for vertex in diagram.nodes.values():
        for at in copies[vertex.name]:
            net.add_node(_name(vertex.name, at.values()), vertex=vertex.name)
    for parent, child in sorted(diagram.edges):
        for above, below in product(copies[parent], copies[child]):
            if all(above[p] == below[p] for p in above.keys() & below.keys()):
                net.add_edge(_name(parent, above.values()), _name(child, below.values()))
    return net


def unrolled_with(diagram: Diagram, names: Sequence[str], more: int = 0) -> nx.DiGraph:
    """A net that has these nodes, and so many tasks and datapoints more than they name.

    Raises:
        ValueError: where there is no such node.
    """
    count = {TASKS: 1, DATA: 1}
    for name in names:
        for plate, index in _indices(diagram, name).items():
            count[plate] = max(count[plate], index + 1)
    return unroll(diagram, count[TASKS] + more, count[DATA] + more)


def vertex_of(diagram: Diagram, name: str) -> Vertex:
    """The vertex that a node of the unrolled net is a copy of.

    Raises:
        TypeError: where the name is no string.
        ValueError: where there is no such node.
    """
    if not isinstance(name, str):
        raise TypeError(f"a node is named by a string, such as 'phi[0]', but {name!r} was given")
    vertex = diagram.nodes.get(re.sub(r"\[[\d,]*\]$", "", name))
    if vertex is None:
        raise ValueError(
            f"there is no node '{name}'; the nodes are {', '.join(diagram.nodes)}, with an index "
            "from 0 for the task and one for the datapoint: 'phi[0]', 'y[0,1]'"
        )
    return vertex


def merged(vertex: Vertex, names: Sequence[str]) -> str:
    """Several copies of a vertex as one name, with ":" where an index takes more than one value."""
    if not _unrolled(vertex):
        return vertex.name
    copies = [n.removeprefix(vertex.name).strip("[]").split(",") for n in names]
    at = (index[0] if len(set(index)) == 1 else ":" for index in zip(*copies, strict=True))
    return f"{vertex.name}[{','.join(at)}]"


def _indices(diagram: Diagram, name: str) -> dict[str, int]:
    """The indices of a node's name by plate."""
    vertex = vertex_of(diagram, name)
    inside = name.removeprefix(vertex.name).strip("[]")
    given, plates = inside.split(",") if inside else [], _unrolled(vertex)
    if len(given) != len(plates):
        example = _name(vertex.name, [0] * len(plates))
        raise ValueError(
            f"'{name}' has {len(given)} indices, but '{vertex.name}' is in "
            f"{' and '.join(plates) or 'no plate that is unrolled'}; write it as '{example}'"
        )
    return dict(zip(plates, map(int, given), strict=True))


def _unrolled(vertex: Vertex) -> tuple[str, ...]:
    return tuple(p for p in vertex.plates if p in _COUNTED)


def _name(name: str, at: Iterable[int]) -> str:
    inside = ",".join(map(str, at))
    return f"{name}[{inside}]" if inside else name
