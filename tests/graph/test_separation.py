"""d-separation against networkx on random graphs, and active paths against their definition."""

from __future__ import annotations

from itertools import combinations, pairwise

import networkx as nx
import numpy as np
import pytest

from bayesmeta.graph.separation import Separation


def random_dag(seed: int) -> nx.DiGraph:
    """Of 4 to 8 nodes, with arrows from a random share of the pairs."""
    rng = np.random.default_rng(seed)
    names = [f"v{i}" for i in rng.permutation(int(rng.integers(4, 9)))]
    chance = rng.uniform(0.1, 0.7)
    dag = nx.DiGraph()
    dag.add_nodes_from(names)
    dag.add_edges_from(pair for pair in combinations(names, 2) if rng.random() < chance)
    return dag


def is_active(dag: nx.DiGraph, path: tuple[str, ...], given: set[str]) -> bool:
    """The definition, word by word (Pearl 1988)."""
    for before, node, after in zip(path, path[1:], path[2:], strict=False):
        if dag.has_edge(before, node) and dag.has_edge(after, node):
            if not given & ({node} | nx.descendants(dag, node)):
                return False
        elif node in given:
            return False
    return all(dag.has_edge(a, b) or dag.has_edge(b, a) for a, b in pairwise(path))


def disagreements(kind: type[Separation], count: int) -> int:
    """Triples (a, b, given) of random graphs in which a kind of separation is wrong."""
    wrong = 0
    for seed in range(count):
        dag = random_dag(seed)
        rng = np.random.default_rng([seed, 1])
        for a, b in combinations(dag.nodes, 2):
            others = [v for v in dag.nodes if v not in (a, b)]
            given = {v for v in others if rng.random() < 0.4}
            path = kind(dag, given).active_path(a, b)
            separated = nx.is_d_separator(dag, a, b, given)
            wrong += separated != (path is None)
            if path is not None:
                ends = (path[0], path[-1]) == (a, b) and len(set(path)) == len(path)
                wrong += not (ends and is_active(dag, path, given))
    return wrong


class _NoDescendants(Separation):
    """The planted bug: a collider opens only when it is given itself."""

    def blocks(self, before: str, node: str, after: str) -> bool:
        if self.is_collider(before, node, after):
            return node not in self.given
        return node in self.given

    def active_path(self, a: str, b: str) -> tuple[str, ...] | None:
        try:
            return super().active_path(a, b)
        except AssertionError:
            return None


def test_equals_networkx_on_500_random_graphs() -> None:
    assert disagreements(Separation, 500) == 0


def test_a_collider_that_its_descendants_do_not_open_is_found() -> None:
    assert disagreements(_NoDescendants, 100) > 0


CHAIN = nx.DiGraph([("a", "b"), ("b", "c"), ("d", "c"), ("c", "e")])


@pytest.mark.parametrize(
    ("ends", "given", "drawn", "reason"),
    [
        (("a", "c"), (), "a -> b -> c", "b, in between, is not given"),
        (("a", "d"), ("e",), "a -> b -> c <- d", "c, a common effect, has e below it, which is"),
        (("a", "d"), ("c",), "a -> b -> c <- d", "c, a common effect, is given"),
    ],
)
def test_an_active_path_is_drawn_with_its_reasons(ends, given, drawn, reason) -> None:
    separation = Separation(CHAIN, given)
    path = separation.active_path(*ends)
    assert path is not None and separation.drawn(path) == drawn
    assert any(said.startswith(reason) for said in separation.reasons(path, blocking=False))


@pytest.mark.parametrize(
    ("ends", "given", "reasons"),
    [
        (("a", "c"), ("b",), ["b, in between, is given"]),
        (("a", "d"), (), ["c, a common effect, is not given, nor is anything below it"]),
    ],
)
def test_a_blocked_path_has_its_reasons(ends, given, reasons) -> None:
    separation = Separation(CHAIN, given)
    assert separation.active_path(*ends) is None
    (path,) = separation.paths(*ends, most=5)
    assert list(separation.reasons(path, blocking=True)) == reasons
