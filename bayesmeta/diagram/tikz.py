"""A graph as a TikZ picture, for papers; a node is 1 cm high."""

from __future__ import annotations

from collections.abc import Mapping

from bayesmeta.diagram.arrangement import arranged, square
from bayesmeta.diagram.boxes import Box, Point
from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.labels import node_labels, plate_labels
from bayesmeta.diagram.latex import in_latex
from bayesmeta.diagram.routes import Route
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role

_STYLES = (
    "node/.style={draw, thick, rounded rectangle, inner sep=0pt, minimum height=1cm}",
    "observed/.style={fill=black!20}",
    "factor/.style={draw, fill, inner sep=0pt, minimum size=4mm}",
    "plate/.style={draw, gray, rounded corners=1.5mm}",
    "arrow/.style={-latex, thick}",
)


def tikz(diagram: Diagram, labels: Mapping[str, str] | None = None) -> str:
    """The picture that `draw` draws, as a `tikzpicture`.

    Its preamble is \\usepackage{tikz} and \\usetikzlibrary{shapes.misc}.

    Args:
        diagram: of a model.
        labels: LaTeX of nodes by name, in place of their own.

    Raises:
        ValueError: for a label of a node that is not there.
    """
    nodes, drawn, around = diagram.nodes, node_labels(diagram, labels), plate_labels(diagram)
    picture = arranged(nodes, diagram.edges, drawn, around)
    texts, captions = node_labels(diagram, labels, in_latex), plate_labels(diagram, in_latex)
    lines = [
        "% needs \\usepackage{tikz} and \\usetikzlibrary{shapes.misc}",
        "\\begin{tikzpicture}[",
        *(f"  {style}," for style in _STYLES),
        "]",
        *(_plate(box) for box in picture.layout.plates.values()),
        *(_caption(box, captions[plates[-1]]) for plates, box in picture.captions.items()),
        *(_arrow(way) for way in picture.ways.values()),
        *(_node(nodes[n], box, texts[n]) for n, box in picture.layout.nodes.items()),
        "\\end{tikzpicture}",
    ]
    return "\n".join(lines) + "\n"


def _plate(box: Box) -> str:
    corners = f"{_at((box.left, box.bottom))} rectangle {_at((box.right, box.top))}"
    return f"  \\draw[plate] {corners};"


def _caption(box: Box, caption: str) -> str:
    style = "gray, font=\\scriptsize, scale=0.9, anchor=south east, inner sep=1pt"
    return f"  \\node[{style}] at {_at((box.right, box.bottom))} {{${caption}$}};"


def _arrow(way: Route) -> str:
    # A quadratic curve as a cubic one.
    first, second = (_towards(way.control, end) for end in (way.start, way.end))
    through = f"{_at(first)} and {_at(second)}"
    return f"  \\draw[arrow] {_at(way.start)} .. controls {through} .. {_at(way.end)};"


def _node(vertex: Vertex, box: Box, text: str) -> str:
    centre = _at((box.x, box.y))
    if vertex.role is Role.FACTOR:
        at = square(box)
        label = f"\\node[anchor=east, font=\\scriptsize] at {_at((at.left, at.y))}"
        return f"  \\node[factor] at {_at((at.x, at.y))} {{}};\n  {label} {{${text}$}};"
    size = f"minimum width={box.width:.2f}cm"
    style = ["node", size]
    if vertex.is_observed and not vertex.is_predicted:
        style.append("observed")
    if vertex.role is Role.DETERMINISTIC:
        style.append("double")
    if not vertex.is_predicted:
        return f"  \\node[{', '.join(style)}] at {centre} {{${text}$}};"
    half = f"{_at((box.x, box.bottom))} rectangle {_at((box.right, box.top))}"
    return (
        f"  \\node[node, {size}, fill=white] at {centre} {{}};\n"
        f"  \\begin{{scope}}\\clip {half};\n"
        f"    \\node[node, {size}, observed] at {centre} {{}};\n"
        f"  \\end{{scope}}\n"
        f"  \\node[{', '.join(style)}] at {centre} {{${text}$}};"
    )


def _towards(control: Point, end: Point) -> Point:
    return end[0] + 2 / 3 * (control[0] - end[0]), end[1] + 2 / 3 * (control[1] - end[1])


def _at(point: Point) -> str:
    return f"({point[0]:.3f}, {point[1]:.3f})"
