"""Every model's diagram: nodes apart, plates around their own alone, arrows clear of nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pyro
import pyro.distributions as dist
import pytest

import bayesmeta as bm
from bayesmeta.graph.boxes import Box, Layout, spread
from bayesmeta.graph.draw import arranged, caption_width
from bayesmeta.graph.labels import node_labels, plate_labels
from bayesmeta.graph.routes import Route, min_distance
from bayesmeta.models import lecture, lynx_hare, neural_process
from tests.cases import EVERY

SUPPORT, QUERY = lecture.tasks(slope=True).split(2)
Ways = dict[tuple[str, str], Route]


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
    found["lynx_hare"] = (lynx_hare.model, lynx_hare.tasks(), None)
    found["neural_process"] = (neural_process.model, neural_process.tasks(5), None)
    return {name: (lambda given=given: bm.graph(*given)) for name, given in found.items()}


GRAPHS = graphs()


def complaints(graph: bm.Graph, layout: Layout, ways: Ways) -> list[str]:
    """What a reader would stumble over."""
    found = []
    for (a, one), (b, other) in combinations(layout.nodes.items(), 2):
        if one.meets(other):
            found.append(f"{a} overlaps {b}")
    for plates, box in layout.plates.items():
        for name, node in layout.nodes.items():
            if box.holds(node) != (graph.nodes[name].plates[: len(plates)] == plates):
                found.append(f"{plates} and {name}")
        for others, other in layout.plates.items():
            nested = others[: len(plates)] == plates and others != plates
            if box.holds(other) != nested or (
                not nested and plates[: len(others)] != others and box.meets(other)
            ):
                found.append(f"{plates} and {others}")
    captions = plate_labels(graph)
    for plates, box in layout.plates.items():
        width = caption_width(captions[plates[-1]])
        caption = Box(box.right - 0.2 - width / 2, box.bottom + 0.25, width, 0.3)
        if not box.holds(caption):
            found.append(f"the caption of {plates} is cut")
        found += [
            f"{n} covers a caption" for n, node in layout.nodes.items() if node.meets(caption)
        ]
    for (a, b), way in ways.items():
        rest = [box for name, box in layout.nodes.items() if name not in (a, b)]
        if min_distance(way, rest) <= 0:
            found.append(f"{a} -> {b} goes through a node")
    return found


def drawn(graph: bm.Graph) -> tuple[Layout, Ways]:
    return arranged(graph, node_labels(graph, None), plate_labels(graph))


@pytest.mark.parametrize("name", GRAPHS)
def test_a_diagram_has_nothing_to_stumble_over(name: str) -> None:
    graph = GRAPHS[name]()
    layout, ways = drawn(graph)
    assert set(layout.nodes) == set(graph.nodes) and set(ways) == graph.edges
    prefixes = {v.plates[:k] for v in graph.nodes.values() for k in range(1, len(v.plates) + 1)}
    assert set(layout.plates) == prefixes
    assert not complaints(graph, layout, ways)
    figure = graph.draw()
    left, right = figure.axes[0].get_xlim()
    low, high = figure.axes[0].get_ylim()
    for x, y in (point for way in ways.values() for point in way.points()):
        assert left < x < right and low < y < high


def test_what_a_reader_would_stumble_over_is_found() -> None:
    graph = bm.graph(lecture.meta_learning, SUPPORT)
    layout, ways = drawn(graph)
    theta, phi = layout.nodes["theta"], layout.nodes["phi"]
    together = Layout({**layout.nodes, "theta": phi.moved(0.3, 0.0)}, layout.plates)
    assert "theta overlaps phi" in complaints(graph, together, ways)
    tasks = layout.plates["tasks",]
    swallowed = replace(tasks, height=tasks.height + 6.0)
    wide = Layout(layout.nodes, {**layout.plates, ("tasks",): swallowed})
    assert "('tasks',) and theta" in complaints(graph, wide, ways)
    low = Layout({**layout.nodes, "y": layout.nodes["y"].moved(0.0, -0.6)}, layout.plates)
    assert "y covers a caption" in complaints(graph, low, ways)
    straight = Route((theta.x, theta.y), (phi.x, phi.y), (phi.x, phi.y - 3.0))
    through = {**ways, ("theta", "y"): straight}
    assert "theta -> y goes through a node" in complaints(graph, layout, through)


def test_a_symmetric_model_is_drawn_symmetrically() -> None:
    layout, _ = drawn(bm.graph(lecture.meta_learning, SUPPORT, QUERY))
    nodes = layout.nodes
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
