"""Which copies an arrow of the diagram joins: those beside each other, all in a task, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.checks import DATA, TASKS, StructureError

if TYPE_CHECKING:
    import networkx as nx


@dataclass(frozen=True)
class Arrow:
    """What a node reads.

    Attributes:
        parent: the vertex that is read.
        over: the plates of which a copy reads all: "data", those at all datapoints of its task and
            not at its own alone; with "tasks", those of all tasks.
    """

    parent: str
    over: frozenset[str]


class Arrows:
    """The arrows into each vertex, and the vertices that are tied.

    Args:
        nodes: of the plate diagram.

    Raises:
        StructureError: where what is one a task reads itself by way of datapoints.

    Attributes:
        tied: by vertex, the group of those whose copies read each other at other datapoints, in the
            model's order, as outcomes do after a lag. In which order datapoints come is not known,
            so that all of a group's in a task are as one: each reads what any of them does.
    """

    def __init__(self, nodes: Mapping[str, Vertex]) -> None:
        import networkx as nx

        self.nodes = nodes
        reads: nx.DiGraph = nx.DiGraph()
        for v in nodes.values():
            reads.add_edges_from((p, v.name) for p in (*v.parents, *v.elsewhere, *v.of_others))
        groups = list(nx.strongly_connected_components(reads))
        _check(nodes, groups)
        self.tied = {
            name: tuple(n for n in nodes if n in group)
            for group in groups
            for name in group
            if len(group) > 1 or reads.has_edge(name, name)
        }

    def into(self, child: str) -> list[Arrow]:
        """What a vertex reads, less its own group."""
        group = self.tied.get(child, ())
        over: dict[str, frozenset[str]] = {}
        for reader in [self.nodes[n] for n in group or (child,)]:
            of_task = frozenset({DATA} if group else ())
            over |= {p: of_task for p in reader.parents}
            over |= {p: frozenset({DATA}) for p in reader.elsewhere}
            over |= {p: frozenset({TASKS, DATA}) for p in reader.of_others}
        return [Arrow(n, over[n]) for n in self.nodes if n in over and n not in group]


def _check(nodes: Mapping[str, Vertex], groups: Sequence[set[str]]) -> None:
    for group in groups:
        outside = [n for n in group if DATA not in nodes[n].plates]
        if len(group) > 1 and outside:
            raise StructureError(
                f"'{outside[0]}' reads itself by way of {', '.join(sorted(group - {outside[0]}))}, "
                "so that there is no Bayes net: a latent reads tasks.y that is drawn from it; give "
                "what is known before as a column"
            )
