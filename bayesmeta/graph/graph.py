"""The Bayes net of a model, and questions to it: its drawing, and who is independent of whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.factorisation import factorisation
from bayesmeta.diagram.vertices import Vertex, vertices
from bayesmeta.graph.blanket import blanket
from bayesmeta.graph.copies import Places, copies
from bayesmeta.graph.roles import roles
from bayesmeta.graph.separation import Separation
from bayesmeta.graph.unrolled import unroll, unrolled_for
from bayesmeta.model.reading import read_as_it_stands
from bayesmeta.model.structure import Role
from bayesmeta.running.handlers import Model

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Graph:
    """A model's plates, nodes and arrows, read from running code; see `bm.graph`.

    Attributes:
        diagram: nodes and arrows.
    """

    diagram: Diagram

    @property
    def nodes(self) -> Mapping[str, Vertex]:
        """The nodes by name, inputs first, then sites in the model's order."""
        return self.diagram.nodes

    @property
    def edges(self) -> frozenset[tuple[str, str]]:
        """(parent, child) of the plate diagram."""
        return self.diagram.edges

    @property
    def model(self) -> Model:
        """What it was read from."""
        return self.diagram.reading.model

    @property
    def tasks(self) -> Tasks:
        """The data on which it was read."""
        return self.diagram.tasks

    @property
    def observed(self) -> frozenset[str]:
        """What is shaded: outcomes and inputs."""
        return frozenset(v.name for v in self.nodes.values() if v.is_observed)

    def __str__(self) -> str:
        def read(v: Vertex) -> str:
            wide = dict.fromkeys((*v.elsewhere, *v.of_others))
            names = [f"{p}[:]" if p in wide else p for p in v.parents]
            names += [f"{p}[:]" for p in wide if p not in v.parents]
            return f"{', '.join(names)} -> " if names else ""

        return "\n".join(
            f"{read(v)}{v.name}" + (f"   [{', '.join(v.plates)}]" if v.plates else "")
            for v in self.nodes.values()
        )

    def factorisation(self) -> str:
        r"""The joint density in LaTeX: p(\theta) \prod_{i} p(\phi_{i} \mid \theta) \prod_{j} ...

        It needs amsmath where deterministic sites follow as equations.
        """
        return factorisation(self.nodes)

    def draw(
        self, path: str | Path | None = None, labels: Mapping[str, str] | None = None
    ) -> Figure:
        """The plate diagram as a matplotlib figure, which is none of pyplot's.

        White nodes are latent, grey ones observed; half grey is what is observed in training and
        not of a new task. Deterministic sites have two outlines, factors are black squares. A plate
        that crosses another is drawn in parts, which its captions say.

        Args:
            path: a file to write, .svg, .pdf or .png; the same graph gives the same bytes.
                Its title is the list of nodes; in an SVG their names are found as text.
            labels: LaTeX of nodes by name, without dollars, in place of their own.

        Raises:
            ValueError: for another suffix, or a label of a node that is not there.
        """
        from bayesmeta.diagram.draw import draw

        return draw(self.diagram, path, labels)

    def tikz(self, labels: Mapping[str, str] | None = None) -> str:
        """The plate diagram as a TikZ picture; its first line says which packages it needs.

        Args:
            labels: LaTeX of nodes by name, in place of their own.

        Raises:
            ValueError: for a label of a node that is not there.
        """
        from bayesmeta.diagram.tikz import tikz

        return tikz(self.diagram, labels)

    def roles(self) -> str:
        """Of each site, in words: can it be minibatched, marginalised, amortised, and why not?"""
        return roles(self.diagram)

    def unroll(self, tasks: int = 3, data: int = 2) -> nx.DiGraph:
        """The net without plates: "mu", "phi[0]" for each task, "y[0,1]" for each datapoint.

        Further plates stay rolled up: a node of theirs is one vector.

        Args:
            tasks: how many tasks.
            data: how many datapoints a task; with a query, of either part.

        Returns:
            a networkx graph; each node has the name of its `vertex`.
        """
        return unroll(self.diagram, tasks, data)

    def independent(self, a: str, b: str, given: Iterable[str] = ()) -> bool:
        """Whether a and b are independent given others, in every distribution of this graph.

        By d-separation (Pearl 1988) in the unrolled net of these tasks; a deterministic site is
        known where all that it reads is (Geiger, Verma & Pearl 1990).

        Args:
            a, b: nodes of the unrolled net, counted from 0: "mu", "phi[0]", "y[0,1]"; they may be
                of tasks and datapoints to come.
            given: nodes that are known, or one of them; "phi[:]" and "y[0,:]" are all that there
                are. Whatever is not named is not known, data and inputs included.

        Raises:
            ValueError: where a node is not there.
        """
        return self._separation(a, b, given).active_path(a, b) is None

    def explain(self, a: str, b: str, given: Iterable[str] = ()) -> str:
        """`independent` in words: the path that is active, or what blocks each path.

        Of tasks and datapoints that are alike, one stands for all.

        Args:
            a, b, given: as in `independent`.
        """
        separation, names = self._separation(a, b, given), _listed(given)
        known = f" given {' and '.join(names)}" if names else ""
        path = separation.active_path(a, b)
        if path is None:
            return f"{a} and {b} are independent{known}{separation.why_independent(a, b)}"
        hint = ""
        at = separation.dag.nodes("vertex")
        inputs = [n for n in path[1:-1] if self.nodes[at[n]].role is Role.INPUT]
        if inputs:
            hint = f"; {inputs[0]} is an input: where it is known, add it to given"
        return f"{a} and {b} are dependent{known}: {separation.why_active(path)}{hint}"

    def markov_blanket(self, node: str) -> tuple[str, ...]:
        """Parents, children and the children's other parents: given them, all else is irrelevant.

        Args:
            node: a node of the unrolled net, as in `independent`.

        Returns:
            nodes in the model's order, for `given`; ":" stands for all tasks, or all datapoints,
            that there are.
        """
        return blanket(self.diagram, copies(self.diagram, node))

    def _separation(self, a: str, b: str, given: Iterable[str]) -> Separation:
        known = _listed(given)
        apart = [copies(self.diagram, name) for name in (a, b)]
        named = [copies(self.diagram, name, may_be_all=True) for name in known]
        places = Places(self.diagram, apart)
        is_given = any(
            c.vertex == n.vertex and places.among(n, c.task, c.row) for c in apart for n in named
        )
        for name, copy in zip((a, b), apart, strict=True):
            if self.nodes[copy.vertex].role is Role.FACTOR:
                raise ValueError(
                    f"{name} is a factor, a term of the density and no variable, and always counts "
                    "as given; ask of what it ties"
                )
        if apart[0] == apart[1] or is_given:
            raise ValueError(
                f"a={a!r}, b={b!r} and given={known} overlap; name two different nodes, neither of "
                "which is given"
            )
        net, found, computed = unrolled_for(self.diagram, apart, named)
        factors = [n for n, v in net.nodes("vertex") if self.nodes[v].role is Role.FACTOR]
        return Separation(net, _closed(net, found | set(factors), computed), factors)


def _closed(net: nx.DiGraph, given: set[str], computed: set[str]) -> set[str]:
    """What is given, and what is a function of it."""
    import networkx as nx

    known = set(given)
    for node in nx.topological_sort(net):
        if node in computed and set(net.predecessors(node)) <= known:
            known.add(node)
    return known


def _listed(given: Iterable[str]) -> list[str]:
    """Names; a single one is one."""
    if given is None:
        raise TypeError("given=None was given; name the nodes that are known, or leave given out")
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
    reading = read_as_it_stands(model, tasks)
    if query is not None:
        check_tasks("query", query)
        tasks = tasks.with_query(query)
    return Graph(Diagram(vertices(reading.structure, tasks), reading, tasks))
