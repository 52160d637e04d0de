"""The nodes of a model's plate diagram: its sites, the columns that they read, and the query's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import DATA, TASKS, StructureError
from bayesmeta.model.structure import Node, Role, Structure

SUPPORT, QUERY = "support", "query"
_MODULE = "$$$"


@dataclass(frozen=True)
class Vertex:
    """A node of the plate diagram.

    Attributes:
        name: of the site or column; with a query, what is inside "data" is there twice, as
            "y_support" and "y_query".
        role: what the site is; a column of x is an input.
        plates: the names of the plates around it, outermost first.
        parents: the nodes that its density reads.
        is_observed: whether its value is known in training.
        is_predicted: whether it is known in training and not of a new task: a query's outcome.
        is_parameter: whether it is a `pyro.param`, theta without a prior.
        elsewhere: the nodes that it reads at other datapoints of its task; also itself there.
        of_others: the nodes of other tasks that a deterministic site reads.
    """

    name: str
    role: Role
    plates: tuple[str, ...]
    parents: tuple[str, ...]
    is_observed: bool = False
    is_predicted: bool = False
    is_parameter: bool = False
    elsewhere: tuple[str, ...] = ()
    of_others: tuple[str, ...] = ()


def vertices(structure: Structure, tasks: Tasks) -> dict[str, Vertex]:
    """Nodes by name, inputs first, then sites in the model's order.

    The weights of a `pyro.module` are one node. A column that nothing reads is none.
    """
    nodes = _whole_modules(structure.nodes)
    column = {c: f"x.{c}" if c in nodes else c for c in tasks.x}
    found = [
        Vertex(column[c], Role.INPUT, _column_plates(c, nodes, tasks), (), is_observed=True)
        for c in tasks.x
        if any(c in n.inputs for n in nodes.values())
    ]
    for node in nodes.values():
        parents = (*(column[c] for c in node.inputs), *node.parents)
        is_observed = node.role in (Role.DATA, Role.FACTOR)
        vertex = Vertex(node.name, node.role, _plates(node), parents, is_observed)
        elsewhere = (*(column[c] for c in node.inputs_elsewhere), *node.elsewhere)
        of_others = (*(column[c] for c in node.inputs_of_others), *node.of_others)
        vertex = replace(vertex, elsewhere=elsewhere, of_others=of_others)
        found.append(replace(vertex, is_parameter=node.distribution == "flat"))
    if tasks.query is not None:
        found = [half for v in found for half in _halves(v, {u.name: u for u in found})]
    _check_names([v.name for v in found])
    return {v.name: v for v in found}


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise StructureError(
                f"two nodes of the graph would be named '{name}': with a query, what is in the "
                f"plate '{DATA}' is named with '_{SUPPORT}' and '_{QUERY}'; rename the site"
            )
        if re.search(r"\[[\d,:]+\]$", name):
            raise StructureError(
                f"site '{name}' has the name of a copy: 'phi[0]' is what the unrolled graph calls "
                "phi of the first task; rename it, such as 'beta_0'"
            )


def _whole_modules(nodes: Mapping[str, Node]) -> dict[str, Node]:
    """The sites, those of a module ("net$$$0.weight", "net$$$0.bias") as one of its name."""
    whole: dict[str, Node] = {}
    for node in nodes.values():
        name = node.name.split(_MODULE)[0]
        parents = tuple(dict.fromkeys(p.split(_MODULE)[0] for p in node.parents))
        whole.setdefault(name, replace(node, name=name, parents=parents))
    return whole


def _plates(node: Node) -> tuple[str, ...]:
    """Names of the plates as nested, but "tasks" around "data": datapoints are a task's."""
    names = [p.name for p in node.plates]
    if DATA in names and TASKS in names[names.index(DATA) :]:
        names.remove(TASKS)
        names.insert(names.index(DATA), TASKS)
    return tuple(names)


def _column_plates(column: str, nodes: Mapping[str, Node], tasks: Tasks) -> tuple[str, ...]:
    """Where a column stands: in "data" if it has a value a datapoint and a reader in there."""
    readers = [p.name for n in nodes.values() if column in n.inputs for p in n.plates]
    wide = tasks.num_data == 1 or tasks.x[column].shape[1] > 1
    return tuple(p for p in (TASKS, DATA) if p in readers and (p == TASKS or wide))


def _halves(vertex: Vertex, all_: Mapping[str, Vertex]) -> Iterator[Vertex]:
    """A node for the support and one for the query, of what is inside "data".

    What is outside and reads such nodes, as a column's mean, reads those of the support.
    """

    def of_part(names: Sequence[str], part: str) -> tuple[str, ...]:
        return tuple(f"{p}_{part}" if DATA in all_[p].plates else p for p in names)

    if DATA not in vertex.plates:
        of_others = of_part(vertex.of_others, SUPPORT)
        yield replace(vertex, parents=of_part(vertex.parents, SUPPORT), of_others=of_others)
        return
    for part in (SUPPORT, QUERY):
        yield replace(
            vertex,
            name=f"{vertex.name}_{part}",
            parents=of_part(vertex.parents, part),
            elsewhere=of_part(vertex.elsewhere, part),
            of_others=of_part(vertex.of_others, part),
            is_predicted=part == QUERY and vertex.role is Role.DATA,
        )
