"""Where all that is drawn stands: nodes and plates as wide as their labels, arrows, captions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from bayesmeta.diagram.boxes import Box, Layout
from bayesmeta.diagram.layout import lay_out
from bayesmeta.diagram.routes import Route, routes
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role

INCH, FONT, SMALL = 0.56, 15.0, 10.5
CM = FontProperties(math_fontfamily="cm")
_CIRCLE, _ASIDE, _CLEAR, _TRIES = 0.75, 0.2, 0.15, 4

Path = tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """Boxes and curves, in units of a node's height, which is INCH high.

    Attributes:
        layout: nodes and plates.
        ways: of each arrow, (from, to).
        captions: the box of each plate's caption, clear of arrows.
    """

    layout: Layout
    ways: Mapping[tuple[str, str], Route]
    captions: Mapping[Path, Box]


def arranged(
    nodes: Mapping[str, Vertex],
    edges: Collection[tuple[str, str]],
    texts: Mapping[str, str],
    captions: Mapping[str, str],
) -> Picture:
    """The places of a diagram, wide enough for its labels.

    Args:
        nodes: by name.
        edges: (parent, child) of each arrow.
        texts: LaTeX of each node.
        captions: LaTeX of each plate.
    """
    widths = {name: _node_width(nodes[name], text) for name, text in texts.items()}
    room = {plate: text_width(caption, SMALL) for plate, caption in captions.items()}
    aside: dict[Path, float] = {}
    for _ in range(_TRIES):
        layout = lay_out(nodes, widths, room, aside)
        picture, lacks = _drawn(layout, nodes, edges, room)
        if not lacks:
            return picture
        aside = {path: aside.get(path, 0.0) + lacks.get(path, 0.0) for path in layout.plates}
    return _drawn(layout, nodes, edges, room, [*picture.captions.values()])[0]


def _drawn(
    layout: Layout,
    nodes: Mapping[str, Vertex],
    edges: Collection[tuple[str, str]],
    room: Mapping[str, float],
    kept: Sequence[Box] = (),
) -> tuple[Picture, dict[Path, float]]:
    """Arrows, which keep clear of captions that are kept, then captions, and what plates lack."""
    ends = {
        name: square(box) if nodes[name].role is Role.FACTOR else box
        for name, box in layout.nodes.items()
    }
    ways = routes(layout.nodes, sorted(edges), ends, kept)
    found = {
        path: _caption(box, room[path[-1]], ways.values()) for path, box in layout.plates.items()
    }
    picture = Picture(layout, ways, {path: box for path, (box, _) in found.items()})
    return picture, {path: lack for path, (_, lack) in found.items() if lack > 0}


def _caption(plate: Box, width: float, ways: Iterable[Route]) -> tuple[Box, float]:
    """The rightmost place at a plate's bottom that no arrow crosses, or the room that it lacks."""
    low, high = plate.bottom + 0.05, plate.bottom + 0.45
    ends = plate.left + _ASIDE - _CLEAR, plate.right - _ASIDE + _CLEAR
    crossed = [x for way in ways for x, y in way.points() if low < y < high]
    stops = [ends[0], *sorted(x for x in crossed if ends[0] < x < ends[1]), ends[1]]
    need = width + 2 * _CLEAR
    gaps = [(a, b) for a, b in pairwise(stops) if b - a >= need - 1e-9]
    right = gaps[-1][1] if gaps else ends[1]
    lack = 0.0 if gaps else need - (stops[-1] - stops[-2])
    return Box(right - need / 2, plate.bottom + 0.25, width, 0.3), lack


def square(box: Box) -> Box:
    """The square of a factor, right of its label."""
    return Box(box.right - 0.2, box.y, 0.4, 0.4)


def _node_width(vertex: Vertex, text: str) -> float:
    """1 for a circle, more where the label is longer."""
    if vertex.role is Role.FACTOR:
        return 0.5 + text_width(text, SMALL)
    width = text_width(text, FONT)
    return 1.0 if width < _CIRCLE else width + 0.5


@cache
def text_width(latex: str, size: float) -> float:
    """In units of a node's height; a guess where matplotlib cannot set it, but LaTeX may."""
    try:
        path = TextPath((0, 0), f"${latex}$", size=size, prop=CM)
    except ValueError:
        return len(re.sub(r"\\\w+|\W", "", latex)) * size / 144 / INCH
    return float(path.get_extents().width / 72 / INCH)
