"""Drawings: every node and arrow is there, shades mean what they should, files are reproducible."""

from __future__ import annotations

import math
import re
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import bayesmeta as bm
from bayesmeta.diagram.boxes import Box
from bayesmeta.diagram.labels import plate_labels
from bayesmeta.diagram.routes import routes
from bayesmeta.models import eight_schools, lecture
from tests.cases import EVERY

SUPPORT, QUERY = lecture.tasks(num_data=6, slope=True).split(2)
META = bm.graph(lecture.meta_learning, SUPPORT, QUERY)


def shade(figure: Figure, name: str, side: float) -> float:
    """The grey level left (-1) or right (1) of a node's label, at its upper rim; 1 is white."""
    figure.set_dpi(200)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., 0] / 255
    (patch,) = (p for p in figure.axes[0].patches if p.get_gid() == f"node-{name}")
    box = patch.get_window_extent()
    x = (box.x0 + box.x1) / 2 + side * 0.18 * box.height
    y = box.y1 - 0.12 * box.height
    return float(pixels[len(pixels) - 1 - int(y), int(x)])


def test_every_node_plate_and_arrow_is_drawn_by_name(tmp_path: Path) -> None:
    for name, (model, tasks, _) in EVERY.items():
        graph = bm.graph(model, tasks)
        ids = {p.get_gid() for p in graph.draw(tmp_path / f"{name}.png").axes[0].patches}
        assert {f"node-{n}" for n in graph.nodes} <= ids
        assert {f"arrow-{a}-{b}" for a, b in graph.edges} <= ids
        assert (tmp_path / f"{name}.png").stat().st_size > 3000


def test_shades() -> None:
    figure = META.draw()
    for name, left, right in (
        ("theta", True, True),
        ("phi", True, True),
        ("x_query", False, False),
        ("y_support", False, False),
        ("y_query", True, False),
    ):
        assert (shade(figure, name, -1) > 0.95) is left, name
        assert (shade(figure, name, 1) > 0.95) is right, name


@pytest.mark.parametrize("suffix", [".svg", ".pdf", ".png"])
def test_the_same_graph_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    files = [tmp_path / f"{k}{suffix}" for k in (1, 2)]
    for file in files:
        META.draw(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    if suffix == ".svg":
        text = files[0].read_text()
        assert all(f'id="node-{name}"' in text for name in META.nodes)


def test_an_svg_has_its_names_where_they_are_drawn(tmp_path: Path) -> None:
    META.draw(tmp_path / "graph.svg")
    root, space = (
        ElementTree.parse(tmp_path / "graph.svg").getroot(),
        "{http://www.w3.org/2000/svg}",
    )
    assert (root.findtext(f"{space}title") or "").endswith(
        "y_query given x_query, phi [tasks, data]"
    )
    texts = {text.text: text for text in root.iter(f"{space}text")}
    assert texts.keys() == {*META.nodes, "tasks", "data"}
    for name in META.nodes:
        (group,) = (g for g in root.iter(f"{space}g") if g.get("id") == f"node-{name}")
        numbers = re.findall(r"[-.\d]+", group[0].attrib["d"])
        for at, drawn in (("x", numbers[::2]), ("y", numbers[1::2])):
            low, high = min(map(float, drawn)), max(map(float, drawn))
            assert float(texts[name].attrib[at]) == pytest.approx((low + high) / 2, abs=0.1)


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    before, figures = dict(matplotlib.rcParams), plt.get_fignums()
    META.draw(tmp_path / "graph.svg")
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == figures


def test_labels() -> None:
    texts = [t.get_text() for t in META.draw(labels={"theta": r"\theta_0"}).axes[0].texts]
    assert r"$\theta_0$" in texts and r"$\phi_{i}$" in texts
    with pytest.raises(ValueError, match="labels were given for psi, but the nodes are x_support"):
        META.draw(labels={"psi": "x"})
    with pytest.raises(TypeError, match="no dict of strings; give LaTeX by name"):
        META.draw(labels={"theta": 3})
    with pytest.raises(ValueError, match=r"Unknown symbol: .bm.*or take tikz"):
        META.draw(labels={"theta": r"\bm{\theta}"})
    assert r"{$\bm{\theta}$}" in META.tikz(labels={"theta": r"\bm{\theta}"})


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ends in '.jpeg'; give .svg, .pdf, .png"):
        META.draw("graph.jpeg")


def test_plates_say_how_far_they_go() -> None:
    assert plate_labels(META) == {
        "tasks": r"\mathrm{tasks}\ \ i = 1, \ldots, 5",
        "data": r"\mathrm{data}\ \ j = 1, \ldots, n_i",
    }
    schools = bm.graph(eight_schools.model, eight_schools.tasks())
    assert plate_labels(schools)["data"] == r"\mathrm{data}\ \ j = 1"
    model, tasks, _ = EVERY["rich"]
    assert plate_labels(bm.graph(model, tasks))["features"] == r"\mathrm{features}\ \ k"


def test_names_that_latex_would_read_otherwise(tmp_path: Path) -> None:
    def model(tasks: bm.Tasks) -> None:
        rate = pyro.sample("log-rate", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            odd = pyro.sample("beta[0] 50%", dist.Normal(rate, 1.0))
            with pyro.plate("my#plate", 2, dim=-3):
                pyro.sample("größe", dist.Normal(odd, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(odd, 1.0), obs=tasks.y)

    graph = bm.graph(model, SUPPORT)
    graph.draw(tmp_path / "graph.PNG")
    assert r"\mathrm{my\textrm{\#}plate}" in graph.tikz() and r"50\textrm{\%}" in graph.tikz()
    with pytest.raises(TypeError, match="give LaTeX by name"):
        graph.draw(labels=["y"])


def test_a_caption_says_what_is_read_across() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            pyro.deterministic("rank", (phi > phi.mT).sum(1, keepdim=True))
            with pyro.plate("data", tasks.num_data, dim=-1):
                e = pyro.sample("e", dist.Normal(0.0, 1.0))
                walk = pyro.deterministic("walk", e.cumsum(-1))
                pyro.sample("y", dist.Normal(phi + walk, 1.0), obs=tasks.y)

    captions = plate_labels(bm.graph(model, bm.Tasks.from_arrays(torch.randn(3, 4))).diagram)
    assert "walk" in captions["data"] and "across" in captions["data"]
    assert "rank" in captions["tasks"] and "e " not in captions["tasks"]


def test_the_last_control_point_of_an_arrow_is_not_its_end() -> None:
    """An arrow to its own end has no direction, and is drawn without a head."""
    small, wide = Box(-1.5, 0.0, 0.6, 0.6), Box(0.0, 0.0, 2.2, 0.6)
    for ends in ((small, wide), (wide, small)):
        (way,) = routes({}, [("a", "b")], dict(zip("ab", ends, strict=True))).values()
        assert math.dist(way.control, way.end) > 0.01
        assert math.dist(way.control, way.start) > 0.01
