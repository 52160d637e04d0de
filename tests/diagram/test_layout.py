"""Every model's diagram: nodes apart, plates around their own alone, arrows clear of nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest

import bayesmeta as bm
from bayesmeta.diagram.arrangement import Picture, arranged
from bayesmeta.diagram.boxes import Box, spread
from bayesmeta.diagram.labels import labels, letters, node_labels, plate_labels
from bayesmeta.diagram.latex import in_mathtext
from bayesmeta.diagram.layout import lay_out
from bayesmeta.diagram.routes import Route
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role
from bayesmeta.models import (
    attentive_process,
    lecture,
    lynx_hare,
    neural_process,
    pooling,
    radon,
    words,
)
from tests.cases import EVERY
from tests.diagram.random_nodes import random_nodes
from tests.diagram.stumbles import complaints
from tests.diagram.test_diagram import regions

SUPPORT, QUERY = lecture.tasks(slope=True).split(2)


def crowded(tasks: bm.Tasks) -> None:
    """Twelve sites with long names, a chain of theta, and plates side by side."""
    top = pyro.sample("hyperprior_location", dist.Normal(0.0, 1.0))
    middle = pyro.sample("middle", dist.Normal(top, 1.0))
    noise = pyro.sample("noise_scale", dist.HalfNormal(1.0))
    level = pyro.sample("level", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a, b, c = (pyro.sample(n, dist.Normal(middle, 1.0)) for n in "abc")
        d = pyro.sample("d", dist.Normal(a + b, 1.0))
        with pyro.plate("features", 3, dim=-3):
            w = pyro.sample("w", dist.Normal(c, 1.0))
        with pyro.plate("groups", 2, dim=-3):
            v = pyro.sample("v", dist.Normal(top, 1.0))
        total = pyro.deterministic("total", w.sum(-3) + v.sum(-3))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = d + total + tasks.x["x"] + level
            pyro.sample("y", dist.Normal(mean, noise), obs=tasks.y)


def graphs() -> dict[str, Callable[[], bm.Graph]]:
    found = {name: (model, tasks, None) for name, (model, tasks, _) in EVERY.items()}
    found["datapoint"] = (lecture.datapoint, lecture.tasks(1, 1, slope=True), None)
    found["dataset"] = (lecture.dataset, SUPPORT[:1], None)
    found["datasets"] = (lecture.datasets, SUPPORT, None)
    found["meta_learning"] = (lecture.meta_learning, SUPPORT, QUERY)
    found["crowded"] = (crowded, SUPPORT, None)
    found["crowded_query"] = (crowded, SUPPORT, QUERY)
    radon_data = radon.tasks()
    found["radon_query"] = (radon.model, *radon_data.split(0.5))
    found["pooling"] = (pooling.shared, radon_data, None)
    found["words"] = (words.model, words.tasks(3), None)
    found["attentive_process"] = (attentive_process.model, attentive_process.tasks(5), None)
    found["regions"] = (regions, SUPPORT, None)
    found["lynx_hare"] = (lynx_hare.model, lynx_hare.tasks(), None)
    found["neural_process"] = (neural_process.model, neural_process.tasks(5), None)
    return {name: (lambda given=given: bm.graph(*given)) for name, given in found.items()}


GRAPHS = graphs()


def with_nodes(picture: Picture, **moved: Box) -> Picture:
    return replace(picture, layout=replace(picture.layout, nodes={**picture.layout.nodes, **moved}))


def with_plate(picture: Picture, tasks: Box) -> Picture:
    plates = {**picture.layout.plates, ("tasks",): tasks}
    return replace(picture, layout=replace(picture.layout, plates=plates))


def with_way(picture: Picture, ends: tuple[str, str], way: Route) -> Picture:
    return replace(picture, ways={**picture.ways, ends: way})


def drawn(graph: bm.Graph) -> Picture:
    return arranged(
        graph.nodes, graph.edges, node_labels(graph.diagram, None), plate_labels(graph.diagram)
    )


@pytest.mark.parametrize("name", GRAPHS)
def test_a_diagram_has_nothing_to_stumble_over(name: str) -> None:
    graph = GRAPHS[name]()
    picture = drawn(graph)
    assert set(picture.layout.nodes) == set(graph.nodes) and set(picture.ways) == graph.edges
    prefixes = {v.plates[:k] for v in graph.nodes.values() for k in range(1, len(v.plates) + 1)}
    assert set(picture.layout.plates) == set(picture.captions) == prefixes
    assert not complaints(graph.nodes, picture)
    figure = graph.draw()
    left, right = figure.axes[0].get_xlim()
    low, high = figure.axes[0].get_ylim()
    for x, y in (point for way in picture.ways.values() for point in way.points()):
        assert left < x < right and low < y < high


def test_what_a_reader_would_stumble_over_is_found() -> None:
    graph = bm.graph(lecture.meta_learning, SUPPORT)
    picture = drawn(graph)
    assert not complaints(graph.nodes, picture)
    nodes, plates = picture.layout.nodes, picture.layout.plates
    theta, phi, tasks, caption = (
        nodes["theta"],
        nodes["phi"],
        plates["tasks",],
        picture.captions["tasks",],
    )
    straight = Route((theta.x, theta.y), (phi.x, phi.y), (phi.x, phi.y - 3.0))
    over = Route((theta.x, theta.y), (theta.x, caption.y), (caption.x, caption.y))
    way = picture.ways["theta", "phi"]
    beside = Route(way.start, (way.control[0] + 0.05, way.control[1]), way.end)
    out = caption.moved(0.0, -0.3)
    both = {path: caption for path in picture.captions}
    for complaint, planted in {
        "theta overlaps phi": with_nodes(picture, theta=phi.moved(0.3, 0.0)),
        "('tasks',) and theta": with_plate(picture, replace(tasks, height=tasks.height + 6.0)),
        "('tasks',) and ('tasks', 'data')": with_plate(picture, replace(tasks, height=2.0)),
        "y covers the caption of ('tasks', 'data')": with_nodes(
            picture, y=nodes["y"].moved(0.0, -0.6)
        ),
        "theta -> y goes through phi": with_way(picture, ("theta", "y"), straight),
        "theta -> y goes through the caption of ('tasks',)": with_way(
            picture, ("theta", "y"), over
        ),
        "theta -> phi runs along theta -> x": with_way(picture, ("theta", "x"), beside),
        "the caption of ('tasks',) and the plate ('tasks',)": replace(
            picture, captions={**picture.captions, ("tasks",): out}
        ),
        "the captions of ('tasks', 'data') and ('tasks',) coincide": replace(
            picture, captions=both
        ),
    }.items():
        assert complaint in complaints(graph.nodes, planted)


def random_picture(seed: int) -> tuple[dict[str, Vertex], Picture]:
    nodes = random_nodes(seed)
    edges = {(p, v.name) for v in nodes.values() for p in v.parents}
    captions = {p: rf"\mathrm{{{p}}}\ \ i = 1, \ldots, 5" for p in letters(nodes)}
    return nodes, arranged(nodes, edges, labels(nodes, in_mathtext), captions)


def test_random_plates_have_nothing_to_stumble_over() -> None:
    for seed in range(80):
        nodes, picture = random_picture(seed)
        assert not complaints(nodes, picture), seed


@pytest.mark.slow
def test_next_to_no_random_plates_have_anything_to_stumble_over() -> None:
    found = [bool(complaints(*random_picture(seed))) for seed in range(80, 500)]
    assert sum(found) <= 8


def test_nodes_without_arrows_do_not_make_a_picture_wide() -> None:
    names = [f"b_{k}" for k in range(30)]
    rest = {
        "mu": Vertex("mu", Role.THETA, (), ()),
        "phi": Vertex("phi", Role.PHI, ("tasks",), ("mu",)),
        "z": Vertex("z", Role.PHI, ("tasks",), ()),
    }
    for plates in ((), ("tasks",)):
        nodes = rest | {name: Vertex(name, Role.THETA, plates, ()) for name in names}
        layout = lay_out(nodes, dict.fromkeys(nodes, 1.0), {"tasks": 2.0})
        assert max(layout.bounds.width, layout.bounds.height) < 16
    few = lay_out(rest, dict.fromkeys(rest, 1.0), {"tasks": 2.0})
    assert few.nodes["z"].y == few.nodes["phi"].y


def test_a_node_that_is_read_beyond_its_plate_is_drawn_with_it() -> None:
    nodes = {
        "a": Vertex("a", Role.PHI, ("tasks",), ()),
        "b": Vertex("b", Role.PHI, ("regions", "features"), ("a",)),
    }
    layout = lay_out(nodes, dict.fromkeys(nodes, 1.0), dict.fromkeys(letters(nodes), 1.0))
    assert set(layout.nodes) == set(nodes)


def test_sites_and_plates_of_one_name_are_two_things() -> None:
    nodes = {
        "z": Vertex("z", Role.THETA, (), ()),
        "a": Vertex("a", Role.PHI, ("z",), ("z",)),
        "z/z": Vertex("z/z", Role.PHI, ("z",), ("a",)),
        "b": Vertex("b", Role.PHI, ("z", "z/z"), ("z/z",)),
    }
    layout = lay_out(nodes, dict.fromkeys(nodes, 1.0), dict.fromkeys(letters(nodes), 1.0))
    assert set(layout.nodes) == set(nodes) and len(layout.plates) == 2


def test_a_symmetric_model_is_drawn_symmetrically() -> None:
    nodes = drawn(bm.graph(lecture.meta_learning, SUPPORT, QUERY)).layout.nodes
    assert nodes["theta"].x == pytest.approx(nodes["phi"].x)
    halves = nodes["y_support"].x + nodes["y_query"].x
    assert halves / 2 == pytest.approx(nodes["phi"].x)
    assert len({nodes[n].y for n in ("x_support", "y_support", "y_query", "x_query")}) == 1


def test_spread_keeps_order_and_gaps_and_moves_as_little_as_it_must() -> None:
    assert spread([0.0, 5.0], [1.0, 1.0], 0.5) == [0.0, 5.0]
    assert spread([1.0, 1.0], [1.0, 1.0], 0.5) == pytest.approx([0.25, 1.75])
    found = spread([2.0, 0.0, 9.0], [1.0, 2.0, 1.0], 0.5)
    assert found[1] - found[0] == pytest.approx(2.0) and found[2] == 9.0


def test_boxes() -> None:
    box = Box(1.0, 2.0, 4.0, 2.0)
    assert (box.left, box.right, box.bottom, box.top) == (-1.0, 3.0, 1.0, 3.0)
    assert box.holds(Box(1.0, 2.0, 3.0, 1.0)) and not box.holds(Box(3.0, 2.0, 1.0, 1.0))
    assert box.meets(Box(3.0, 2.0, 1.0, 1.0)) and not box.meets(Box(5.0, 2.0, 1.0, 1.0))
