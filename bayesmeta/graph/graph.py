"""The Bayes net of a model: its plates unrolled, and who is independent of whom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import networkx as nx

from bayesmeta.data.tasks import Tasks
from bayesmeta.graph.factorisation import factorisation
from bayesmeta.graph.separation import Separation
from bayesmeta.graph.vertices import Vertex, vertices
from bayesmeta.model.checks import DATA, TASKS
from bayesmeta.model.handlers import Model
from bayesmeta.model.structure import Role, check_types

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COUNTED = (TASKS, DATA)
_MOST_PATHS = 8


@dataclass(frozen=True)
class Graph:
    """A model's plates, nodes and arrows, read from running code; see `bm.graph`.

    Attributes:
        nodes: by name, inputs first, then sites in the model's order.
        model, tasks: what it was read from.
    """

    nodes: Mapping[str, Vertex]
    model: Model = field(repr=False)
    tasks: Tasks = field(repr=False)

    @property
    def edges(self) -> frozenset[tuple[str, str]]:
        """(parent, child) of the plate diagram."""
        return frozenset((p, v.name) for v in self.nodes.values() for p in v.parents)

    @property
    def observed(self) -> frozenset[str]:
        """What is shaded: outcomes and inputs."""
        return frozenset(v.name for v in self.nodes.values() if v.is_observed)

    def __str__(self) -> str:
        return "\n".join(
            f"{', '.join(v.parents) + ' -> ' if v.parents else ''}{v.name}"
            + (f"   [{', '.join(v.plates)}]" if v.plates else "")
            for v in self.nodes.values()
        )

    def factorisation(self) -> str:
        r"""The joint density in LaTeX: p(\theta) \prod_{i} p(\phi_{i} \mid \theta) \prod_{j} ..."""
        return factorisation(self.nodes)

    def draw(
        self, path: str | Path | None = None, labels: Mapping[str, str] | None = None
    ) -> Figure:
        """The plate diagram as a matplotlib figure; see `bayesmeta.graph.draw.draw`.

        Args:
            path: a file to write, .svg, .pdf or .png.
            labels: LaTeX of nodes by name, in place of their own.
        """
        from bayesmeta.graph.draw import draw

        return draw(self, path, labels)

    def tikz(self, labels: Mapping[str, str] | None = None) -> str:
        """The plate diagram as a TikZ picture; see `bayesmeta.graph.tikz.tikz`."""
        from bayesmeta.graph.tikz import tikz

        return tikz(self, labels)

    def roles(self) -> str:
        """Of each site, in words: can it be minibatched, marginalised, amortised, and why not?"""
        from bayesmeta.graph.roles import roles

        return roles(self)

    def unroll(self, tasks: int = 3, data: int = 2) -> nx.DiGraph:
        """The net without plates: "mu", "phi[0]" for each task, "y[0,1]" for each datapoint.

        Further plates stay rolled up: a node of theirs is one vector.

        Args:
            tasks: how many tasks.
            data: how many datapoints a task; with a query, of either part.

        Returns:
            a networkx graph; each node has the name of its `vertex`.
        """
        counts = {TASKS: tasks, DATA: data}
        if min(counts.values()) < 1:
            raise ValueError(f"tasks={tasks} and data={data} were given; unroll at least 1 of each")
        net: nx.DiGraph = nx.DiGraph()
        copies = {
            v.name: [
                dict(zip(_unrolled(v), at, strict=True))
                for at in product(*(range(counts[p]) for p in _unrolled(v)))
            ]
            for v in self.nodes.values()
        }
        for vertex in self.nodes.values():
            for at in copies[vertex.name]:
                net.add_node(_name(vertex.name, at.values()), vertex=vertex.name)
        for parent, child in sorted(self.edges):
            for above, below in product(copies[parent], copies[child]):
                if all(above[p] == below[p] for p in above.keys() & below.keys()):
                    net.add_edge(_name(parent, above.values()), _name(child, below.values()))
        return net

    def independent(self, a: str, b: str, given: Iterable[str] = ()) -> bool:
        """Whether a and b are independent given others, in every distribution of this graph.

        By d-separation (Pearl 1988) in the unrolled net; a deterministic site is known where all
        that it reads is.

        Args:
            a, b: nodes of the unrolled net, counted from 0: "mu", "phi[0]", "y[0,1]".
            given: nodes that are known, or one of them; whatever is not named is not known, data
                and inputs included.

        Raises:
            ValueError: where a node is not there.
        """
        return self._separation(a, b, given).active_path(a, b) is None

    def explain(self, a: str, b: str, given: Iterable[str] = ()) -> str:
        """`independent` in words: the path that is active, or what blocks each path.

        Args:
            a, b, given: as in `independent`.
        """
        separation = self._separation(a, b, given)
        path = separation.active_path(a, b)
        names = _listed(given)
        known = f" given {' and '.join(names)}" if names else ""
        if path is not None:
            why = "; ".join(separation.reasons(path, blocking=False)) or "one reads the other"
            drawn = separation.drawn(path)
            said = f"{a} and {b} are dependent{known}: the path {drawn} is active ({why})"
            inputs = [n for n in path[1:-1] if self._vertex(n).role is Role.INPUT]
            hint = (
                f"; {inputs[0]} is an input: where it is known, add it to given" if inputs else ""
            )
            return said + hint
        fixed = sorted({a, b} & separation.given)
        if fixed:
            return f"{a} and {b} are independent{known}: {fixed[0]} follows from what is given"
        paths = separation.paths(a, b, _MOST_PATHS + 1)
        if not paths:
            return f"{a} and {b} are independent{known}: no path joins them"
        lines = [
            f"  {separation.drawn(p)} ({'; '.join(separation.reasons(p, blocking=True))})"
            for p in paths[:_MOST_PATHS]
        ]
        more = ["  ... and longer ones"] if len(paths) > _MOST_PATHS else []
        head = f"{a} and {b} are independent{known}; every path is blocked:"
        return "\n".join([head, *lines, *more])

    def markov_blanket(self, node: str) -> tuple[str, ...]:
        """Parents, children and the children's other parents: given them, all else is irrelevant.

        Args:
            node: a node of the unrolled net, as in `independent`.

        Returns:
            nodes in the model's order; ":" stands for all tasks, or all datapoints, that there are.
        """
        net = self._unrolled([node], more=1)
        children = set(net.successors(node))
        parents = set(net.predecessors(node)).union(*(net.predecessors(c) for c in children))
        blanket = (children | parents) - {node}
        of_vertex = [net.nodes[n]["vertex"] for n in blanket]
        return tuple(
            _merged(v, [n for n in blanket if net.nodes[n]["vertex"] == v.name])
            for v in self.nodes.values()
            if v.name in of_vertex
        )

    def _separation(self, a: str, b: str, given: Iterable[str]) -> Separation:
        known = _listed(given)
        net = self._unrolled([a, b, *known])
        if a == b or {a, b} & set(known):
            raise ValueError(
                f"a={a!r}, b={b!r} and given={known} overlap; name two different nodes, neither of "
                "which is given"
            )
        factors = [n for n, v in net.nodes("vertex") if self.nodes[v].role is Role.FACTOR]
        return Separation(net, self._known(net, set(known) | set(factors)), factors)

    def _known(self, net: nx.DiGraph, given: set[str]) -> set[str]:
        """What is given, and the deterministic sites that follow from it."""
        known = set(given)
        for node in nx.topological_sort(net):
            role, parents = self.nodes[net.nodes[node]["vertex"]].role, set(net.predecessors(node))
            if role is Role.DETERMINISTIC and parents and parents <= known:
                known.add(node)
        return known

    def _unrolled(self, names: Sequence[str], more: int = 0) -> nx.DiGraph:
        """A net that has these nodes, and so many tasks and datapoints more than they name."""
        count = {TASKS: 1, DATA: 1}
        for name in names:
            for plate, index in self._indices(name).items():
                count[plate] = max(count[plate], index + 1)
        return self.unroll(count[TASKS] + more, count[DATA] + more)

    def _vertex(self, name: str) -> Vertex:
        """Of a node of the unrolled net."""
        if not isinstance(name, str):
            raise TypeError(
                f"a node is named by a string, such as 'phi[0]', but {name!r} was given"
            )
        vertex = self.nodes.get(re.sub(r"\[[\d,]*\]$", "", name))
        if vertex is None:
            raise ValueError(
                f"there is no node '{name}'; the nodes are {', '.join(self.nodes)}, with an index "
                "from 0 for the task and one for the datapoint: 'phi[0]', 'y[0,1]'"
            )
        return vertex

    def _indices(self, name: str) -> dict[str, int]:
        """The indices of a node's name by plate."""
        vertex = self._vertex(name)
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


def _merged(vertex: Vertex, names: Sequence[str]) -> str:
    """Several copies of a vertex as one name, with ":" where an index takes more than one value."""
    if not _unrolled(vertex):
        return vertex.name
    copies = [n.removeprefix(vertex.name).strip("[]").split(",") for n in names]
    at = (index[0] if len(set(index)) == 1 else ":" for index in zip(*copies, strict=True))
    return f"{vertex.name}[{','.join(at)}]"


def _listed(given: Iterable[str]) -> list[str]:
    """Names; a single one is one."""
    return [given] if isinstance(given, str) else list(given)


def graph(model: Model, tasks: Tasks, query: Tasks | None = None) -> Graph:
    """The Bayes net of a model, found by running it.

    An arrow is there where a density reads a value (its provenance) or moves with it (by changing
    one site at a time), so that arrows through networks, `torch.vmap` and deterministic sites are
    found. Sites outside the plate "tasks" are theta, `pyro.param` included; columns of x are
    observed inputs. A model without the plate "tasks" is drawn as it stands. That datapoints of a
    task do not read each other's x or y, the plate "data" says, and it is believed.

    Args:
        model: a Pyro function of the tasks.
        tasks: the data, with y.
        query: datapoints of the same tasks to predict: then what is inside "data" is there for
            the support and for the query.

    Raises:
        StructureError, TypeError: as `structure`.
        TasksError: where query has other tasks.
    """
    if not isinstance(query, Tasks | None):
        raise TypeError(f"query is a {type(query).__name__}, but bm.Tasks is expected")
    if query is not None:
        check_types(model, tasks)
        tasks = tasks.with_query(query)
    return Graph(vertices(model, tasks), model, tasks)
