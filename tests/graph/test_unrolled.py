"""Independence in plate models, against all copies: by networkx, and in linear-Gaussian models."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import networkx as nx
import numpy as np
import pytest
import torch

import bayesmeta as bm
from bayesmeta.diagram.arrows import Arrow, Arrows
from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.graph import Graph, copies, unrolled
from bayesmeta.model.structure import Role

TASKS, DATA, REGIONS = "tasks", "data", "regions"
PLATES = {(): 3, (REGIONS,): 1, (TASKS,): 3, (TASKS, REGIONS): 1, (TASKS, DATA): 4}


def plate_model(seed: int, *, elsewhere: bool = False) -> Graph:
    """Up to ten nodes in three plates, a third of them aggregates or factors, of ragged tasks.

    With elsewhere, some in "data" read others, or themselves, at other datapoints.
    """
    rng = np.random.default_rng(seed)
    kinds, weights = list(PLATES), np.array(list(PLATES.values()), dtype=float)
    nodes: dict[str, Vertex] = {}
    for k in range(int(rng.integers(4, 11))):
        plates = kinds[rng.choice(len(kinds), p=weights / weights.sum())]
        role = rng.choice(
            [Role.PHI, Role.PHI, Role.DETERMINISTIC, Role.FACTOR], p=[0.3, 0.2, 0.25, 0.25]
        )
        # A latent outside of a plate reads nothing inside: only what reports does.
        may = [v for v in nodes.values() if v.role is not Role.FACTOR]
        if role is not Role.DETERMINISTIC:
            may = [v for v in may if TASKS in plates or TASKS not in v.plates]
        chosen = [v.name for v in may if rng.random() < 0.4][:3]
        if role in (Role.DETERMINISTIC, Role.FACTOR) and not chosen:
            role = Role.PHI
        nodes[f"v{k}"] = Vertex(f"v{k}", role, plates, tuple(chosen))
    more = {v.name: with_reads_elsewhere(v, nodes, rng) for v in nodes.values()}
    if elsewhere and is_a_net(more):
        nodes = more
    sizes = torch.from_numpy(
        rng.integers(1, 4, size=int(rng.integers(1, 4)) + int(rng.random() < 0.8))
    )
    mask = torch.arange(int(sizes.max())) < sizes[:, None]
    tasks = bm.Tasks.from_arrays(torch.zeros(mask.shape), mask=mask)
    return Graph(Diagram(nodes, None, tasks))  # type: ignore[arg-type]


def is_a_net(nodes: dict[str, Vertex]) -> bool:
    try:
        Arrows(nodes)
    except bm.StructureError:
        return False
    return True


def with_reads_elsewhere(
    vertex: Vertex, nodes: dict[str, Vertex], rng: np.random.Generator
) -> Vertex:
    """A vertex that reads one of its parents, itself or a later one at other datapoints."""
    if DATA not in vertex.plates or vertex.role is Role.FACTOR:
        return vertex
    later = [
        v.name
        for v in nodes.values()
        if DATA in v.plates and vertex.name in v.parents and v.role is Role.PHI
    ]
    own = [vertex.name] if vertex.role is Role.PHI else []
    may = [n for n in vertex.parents if DATA in nodes[n].plates] + own + later
    chosen = tuple(n for n in may if rng.random() < 0.3)
    return replace(vertex, elsewhere=chosen)


def whole_net(graph: Graph) -> nx.DiGraph:
    """All copies that the tasks have, from the definition."""
    net = nx.DiGraph()
    where = {}
    for v in graph.nodes.values():
        for i, j in product(*(range(n) for n in graph.tasks.mask.shape)):
            if DATA in v.plates and not graph.tasks.mask[i, j]:
                continue
            at = {TASKS: i, DATA: j}
            at = {p: at[p] for p in v.plates if p in at}
            name = f"{v.name}[{','.join(map(str, at.values()))}]" if at else v.name
            where[name] = (v.name, at)
            net.add_node(name, vertex=v.name)
    for (child, (c, at)), (parent, (p, above)) in product(where.items(), where.items()):
        if p in graph.nodes[c].parents and all(at[x] == above[x] for x in at.keys() & above.keys()):
            net.add_edge(parent, child)
        is_read = p in graph.nodes[c].elsewhere and at[TASKS] == above[TASKS]
        # Those that read each other do in the order of the datapoints.
        if is_read and (p not in tied(graph).get(c, ()) or above[DATA] < at[DATA]):
            net.add_edge(parent, child)
    return net


def tied(graph: Graph) -> dict[str, tuple[str, ...]]:
    return Arrows(graph.nodes).tied


def role(graph: Graph, net: nx.DiGraph, node: str) -> Role:
    return graph.nodes[net.nodes[node]["vertex"]].role


def questions(graph: Graph, net: nx.DiGraph, seed: int, count: int) -> Iterator[tuple]:
    """Pairs, and what is given: a few nodes, or all copies of some."""
    rng = np.random.default_rng([seed, 1])
    nodes = [n for n in net if role(graph, net, n) is not Role.FACTOR]
    for _ in range(count if len(nodes) > 2 else 0):
        a, b = rng.choice(nodes, 2, replace=False)
        few = set(rng.choice(nodes, int(rng.integers(0, 4))))
        for vertex in rng.choice(list(graph.nodes), int(rng.integers(0, 2))):
            few |= {n for n in nodes if net.nodes[n]["vertex"] == vertex and rng.random() < 0.9}
        yield str(a), str(b), sorted(map(str, few - {a, b}))


def known(graph: Graph, net: nx.DiGraph, given: list[str]) -> set[str]:
    """With factors, and with deterministic nodes all of whose parents are known."""
    found = {*given, *(n for n in net if role(graph, net, n) is Role.FACTOR)}
    for node in nx.topological_sort(net):
        if role(graph, net, node) is Role.DETERMINISTIC and set(net.predecessors(node)) <= found:
            found.add(node)
    return found


def separated(graph: Graph, net: nx.DiGraph, a: str, b: str, given: list[str]) -> bool:
    z = known(graph, net, given)
    return bool({a, b} & z) or nx.is_d_separator(net, a, b, z)


def uncorrelated(
    graph: Graph, net: nx.DiGraph, a: str, b: str, given: list[str], seed: int
) -> bool:
    """Whether the partial correlation is 0 where each arrow has an effect of its own."""
    rng, order = np.random.default_rng([seed, 2]), list(nx.topological_sort(net))
    place = {n: k for k, n in enumerate(order)}
    ways = np.zeros((len(order), len(order)))
    for node in order:
        k = place[node]
        ways[k, k] = role(graph, net, node) is not Role.DETERMINISTIC
        for parent in net.predecessors(node):
            ways[k] += rng.uniform(0.5, 1.5) * rng.choice([-1, 1]) * ways[place[parent]]
    factors = [n for n in net if role(graph, net, n) is Role.FACTOR]
    z = ways[[place[n] for n in {*given, *factors}]]
    left = []
    for node in (a, b):
        row = ways[place[node]]
        if len(z):
            _, s, v = np.linalg.svd(z, full_matrices=False)
            v = v[s > 1e-9 * s.max(initial=0)]
            row = row - v.T @ (v @ row)
        left.append(row / np.linalg.norm(ways[place[node]]).clip(1e-300))
    return abs(float(left[0] @ left[1])) < 1e-8


def wrong_answers(
    seeds: range, each: int, *, gaussian: bool = False, elsewhere: bool = False
) -> tuple[int, int]:
    """How many answers are wrong, of how many."""
    wrong = asked = 0
    for seed in seeds:
        graph = plate_model(seed, elsewhere=elsewhere)
        net = whole_net(graph)
        for a, b, given in questions(graph, net, seed, each):
            found, right = graph.independent(a, b, given), separated(graph, net, a, b, given)
            # In which order datapoints are tied a graph does not know: it may say less.
            wrong += found > right if tied(graph) else found != right
            if gaussian:
                zero = uncorrelated(graph, net, a, b, given, seed)
                # A linear function can be solved for what it reads, which graphs know nothing of.
                computed = any(role(graph, net, n) is Role.DETERMINISTIC for n in (a, b, *given))
                wrong += found and not zero if computed else found != zero
            asked += 1
    return wrong, asked


def test_answers_are_those_of_all_copies_and_of_linear_gaussian_models() -> None:
    wrong, asked = wrong_answers(range(60), 25, gaussian=True)
    assert asked > 1000 and wrong == 0


@pytest.mark.slow
def test_ten_thousand_answers_are_those_of_all_copies() -> None:
    wrong, asked = wrong_answers(range(1000, 1500), 25, gaussian=True)
    assert asked > 10_000 and wrong == 0


def test_answers_hold_where_datapoints_read_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, asked = wrong_answers(range(80), 20, elsewhere=True)
    assert asked > 1500 and wrong == 0
    monkeypatch.setattr(Arrows, "into", _believing_the_plate)
    assert wrong_answers(range(80), 20, elsewhere=True)[0] > 0


def _believing_the_plate(self: Arrows, child: str) -> list[Arrow]:
    """The planted bug: datapoints of a task are taken for independent."""
    self.tied = {}
    return [Arrow(p, frozenset()) for p in self.nodes[child].parents]


def test_an_unrolling_without_a_spare_copy_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies.Places, "another", lambda self, part, task, but: None if but else 0)
    assert wrong_answers(range(60), 25)[0] > 0
    monkeypatch.undo()
    monkeypatch.setattr(copies.Places, "alike", lambda self, but, rows: [] if but else [0])
    assert wrong_answers(range(60), 25)[0] > 0


def expanded(graph: Graph, net: nx.DiGraph, names: tuple[str, ...]) -> list[str]:
    """The nodes that names stand for."""
    return [
        node
        for name in names
        for node in net
        if re.fullmatch(re.escape(name).replace(":", r"\d+"), node)
    ]


def test_blankets_are_those_of_all_copies() -> None:
    for seed in range(150):
        graph = plate_model(seed)
        net = whole_net(graph)
        for node in net:
            children = set(net.successors(node))
            around = children | set(net.predecessors(node))
            around |= {p for child in children for p in net.predecessors(child)}
            found = expanded(graph, net, graph.markov_blanket(node))
            assert sorted(found) == sorted(around - {node}), (seed, node)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_given_its_blanket_a_node_is_independent_of_all_else(elsewhere: bool) -> None:
    for seed in range(40):
        graph = plate_model(seed, elsewhere=elsewhere)
        net = whole_net(graph)
        nodes = [n for n in net if role(graph, net, n) is not Role.FACTOR]
        for node in nodes[:6]:
            blanket = graph.markov_blanket(node)
            rest = set(nodes) - {node} - set(expanded(graph, net, blanket))
            assert all(graph.independent(node, other, blanket) for other in sorted(rest)[:6])


def test_the_net_for_a_question_does_not_grow_with_the_tasks() -> None:
    vertices = {
        "mu": Vertex("mu", Role.THETA, (), ()),
        "phi": Vertex("phi", Role.PHI, (TASKS,), ("mu",)),
        "y": Vertex("y", Role.DATA, (TASKS, DATA), ("phi",)),
    }
    tasks = bm.Tasks.from_arrays(torch.zeros(2000, 50))
    diagram = Diagram(vertices, None, tasks)  # type: ignore[arg-type]
    apart = [copies.copies(diagram, name) for name in ("phi[0]", "y[1999,3]")]
    net, _, _ = unrolled.unrolled_for(diagram, apart, [copies.Copies("y", None, 7)])
    # mu; tasks 0, 1999 and another; y's rows 7 and another, and row 3 of task 1999.
    assert len(net) == 1 + 3 + (2 + 3 + 2)
