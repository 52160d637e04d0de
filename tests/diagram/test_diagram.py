"""Plates nested, side by side, crossing: as written, in few pieces, with right products."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.diagram.diagram import nested, pieces
from bayesmeta.diagram.factorisation import factorisation
from bayesmeta.diagram.labels import letters
from bayesmeta.diagram.layout import lay_out
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role
from tests.diagram.random_nodes import random_nodes

TASKS = bm.Tasks.from_arrays(torch.randn(4, 5), {"x": torch.randn(4, 5)})
_TOKEN = re.compile(
    r"\\prod_\{(?P<prod>.*?)\} |(?P<open>\\left\()|(?P<close>\\right\))|p\((?P<p>.)"
)


def bound(text: str) -> dict[str, set[str]]:
    """The indices of the products around each density, by the one letter of its site."""
    found, scopes = {}, [set[str]()]
    for token in _TOKEN.finditer(text):
        if token["prod"]:
            scopes[-1] = scopes[-1] | {token["prod"]}
        elif token["open"]:
            scopes.append(scopes[-1])
        elif token["close"]:
            scopes.pop()
        else:
            assert token["p"] not in found, f"two densities of {token['p']}"
            found[token["p"]] = scopes[-1]
    return found


def complaints(nodes: dict[str, Vertex], text: str) -> list[str]:
    """Densities under other products than their plates', and indices that nothing binds."""
    index, found = letters(nodes), []
    truth = {v.name: {index[p] for p in v.plates} for v in nodes.values()}
    if (given := bound(text)) != truth:
        found.append(f"{given} is not {truth}")
    for v in nodes.values():
        inside = re.search(rf"p\({v.name}(?:_\{{\w+\}})?(?: \\mid (.*?))?\)", text)
        read = (inside[1] or "") if inside else ""
        whole = re.findall(r"\\\{\w_\{(\w+)\}\\\}_\{(\w+)\}", read)
        plain = re.sub(r"\\\{.*?\\\}_\{\w+\}", "", read)
        free = [set(own) - set(all_) for own, all_ in whole]
        free += [set(own) for own in re.findall(r"_\{(\w+)\}", plain)]
        found += [f"{v.name} reads {free}"] * any(not own <= truth[v.name] for own in free)
        found += [f"{v.name} reads {whole}"] * any(set(a) & truth[v.name] for _, a in whole)
        parents = [p for p in v.parents if not re.search(rf"\b{p}(_|\b)", read)]
        found += [f"{v.name} does not read {parents}"] * bool(parents)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_each_density_is_under_the_products_of_its_own_plates(seed: int) -> None:
    nodes = random_nodes(seed)
    assert not complaints(nodes, factorisation(nodes))


def test_a_wrong_product_is_found() -> None:
    planted = (
        lambda text: text.replace(r"\left(", "").replace(r"\right)", ""),
        lambda text: re.sub(r"\\\{(.*?)\\\}_\{\w+\}", r"\1", text),
        lambda text: text.replace(r"\prod_{k} ", "", 1),
    )
    every = [random_nodes(seed) for seed in range(60)]
    for plant in planted:
        assert sum(bool(complaints(nodes, plant(factorisation(nodes)))) for nodes in every) > 10


@pytest.mark.parametrize("seed", range(60))
def test_a_plate_is_cut_only_where_it_crosses_another(seed: int) -> None:
    nodes = random_nodes(seed)
    inside = {p: {v.name for v in nodes.values() if p in v.plates} for p in letters(nodes)}
    cross = any(a & b and not a <= b and not b <= a for a, b in combinations(inside.values(), 2))
    cut = pieces(nodes)
    assert cross == any(count > 1 for count in cut.values())
    layout = lay_out(nodes, dict.fromkeys(nodes, 1.0), dict.fromkeys(letters(nodes), 1.0))
    assert Counter(plates[-1] for plates in layout.plates) == cut
    for v in nested(nodes).values():
        assert set(v.plates) == set(nodes[v.name].plates)
        around = {p[-1] for p, box in layout.plates.items() if box.holds(layout.nodes[v.name])}
        assert around == set(v.plates)


def vertex(name: str, *plates: str) -> Vertex:
    return Vertex(name, Role.PHI, plates, ())


def test_what_holds_all_of_another_is_outside_and_else_what_is_written_first() -> None:
    def order(*nodes: Vertex) -> dict[str, tuple[str, ...]]:
        return {v.name: v.plates for v in nested({v.name: v for v in nodes}).values()}

    assert order(vertex("a", "A", "B")) == {"a": ("A", "B")}
    assert order(vertex("a", "A", "B"), vertex("b", "B"))["a"] == ("B", "A")
    crossing = vertex("a", "A", "B"), vertex("b", "B"), vertex("c", "A")
    assert order(*crossing)["a"] == ("A", "B")
    assert pieces({v.name: v for v in crossing}) == {"A": 1, "B": 2}


@pytest.mark.parametrize("dims", [(-3, -4), (-4, -3)])
def test_nesting_is_the_order_of_with_whatever_the_dims(dims: tuple[int, int]) -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("outer", 2, dim=dims[0]):
            a = pyro.sample("a", dist.Normal(0.0, 1.0))
            with pyro.plate("inner", 3, dim=dims[1]):
                b = pyro.sample("b", dist.Normal(a, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(b.mean(), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    graph = bm.graph(model, TASKS)
    assert graph.nodes["b"].plates == ("outer", "inner")
    assert [p.name for p in bm.structure(model, TASKS).nodes["b"].plates] == ["outer", "inner"]
    assert graph.tikz().count(r"\mathrm{outer}") == graph.tikz().count(r"\mathrm{inner}") == 1
    assert graph.factorisation() == (
        r"\left(\prod_{k} p(a_{k})\, \prod_{l} p(b_{kl} \mid a_{k})\right)\, "
        r"\prod_{i} p(\phi_{i} \mid \{b_{kl}\}_{kl})\, \prod_{j} p(y_{ij} \mid \phi_{i})"
    )


def regions(tasks: bm.Tasks) -> None:
    """A plate around "tasks" for one site, beside it for another."""
    with pyro.plate("regions", 2, dim=-3):
        r = pyro.sample("r", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            q = pyro.sample("q", dist.Normal(r, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(q.sum(0), 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_a_plate_that_crosses_tasks_is_drawn_in_parts_that_say_so() -> None:
    graph = bm.graph(regions, TASKS)
    assert graph.nodes["q"].plates == ("regions", "tasks")
    assert graph.factorisation() == (
        r"\left(\prod_{k} p(r_{k})\, \prod_{i} p(q_{ki} \mid r_{k})\right)\, "
        r"\prod_{i} p(\phi_{i} \mid \{q_{ki}\}_{k})\, \prod_{j} p(y_{ij} \mid \phi_{i})"
    )
    captions = [t.get_text() for t in graph.draw().axes[0].texts if "in\\ 2" in t.get_text()]
    assert len(captions) == 2 and all(r"\mathrm{tasks}\ \ i = 1, \ldots, 4" in t for t in captions)
    assert graph.tikz().count(r"(in\ 2\ parts)") == 2


def test_datapoints_are_a_tasks_even_where_data_is_written_first() -> None:
    def model(tasks: bm.Tasks) -> None:
        with (
            pyro.plate("data", tasks.num_data, dim=-1),
            pyro.plate("tasks", tasks.num_tasks, dim=-2),
        ):
            pyro.sample("y", dist.Normal(tasks.x["x"], 1.0), obs=tasks.y)

    graph = bm.graph(model, TASKS)
    assert graph.nodes["y"].plates == ("tasks", "data")
    assert "y[3,4]" in graph.unroll(4, 5)
    assert graph.factorisation() == r"\prod_{i} \prod_{j} p(y_{ij} \mid x_{ij})"
