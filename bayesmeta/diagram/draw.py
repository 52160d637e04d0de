"""A graph as a plate diagram, drawn by matplotlib alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path as Curve
from matplotlib.textpath import TextPath

from bayesmeta.diagram.arrangement import CM, FONT, INCH, SMALL, Picture, arranged, square
from bayesmeta.diagram.boxes import Box, with_points
from bayesmeta.diagram.diagram import Diagram
from bayesmeta.diagram.labels import node_labels, plate_labels
from bayesmeta.diagram.routes import Route
from bayesmeta.diagram.saving import checked_path, readable, save
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role

_MARGIN = 0.15
_INK, _SHADE, _PLATE = "#1b1b1b", "#cfcfcf", "#6b6b6b"


def draw(
    diagram: Diagram, path: str | Path | None = None, labels: Mapping[str, str] | None = None
) -> Figure:
    """The graph as a plate diagram.

    White nodes are latent, grey ones observed; half grey is what is observed in training and not of
    a new task. Deterministic sites have two outlines, factors are black squares. A plate that
    crosses another is drawn in parts, which its captions say.

    Args:
        diagram: of a model.
        path: a file to write, .svg, .pdf or .png; the same graph gives the same bytes.
            Its title is the list of nodes; in an SVG their names are found as text.
        labels: LaTeX of nodes by name, without dollars, in place of their own.

    Returns:
        a matplotlib figure, which is none of pyplot's.

    Raises:
        ValueError: for another suffix, or a label of a node that is not there.
    """
    file = None if path is None else checked_path(path)
    texts = node_labels(diagram, labels)
    _check_set({name: texts[name] for name in labels or {}})
    captions = plate_labels(diagram)
    picture = arranged(diagram.nodes, diagram.edges, texts, captions)
    figure = _painted(picture, diagram.nodes, texts, captions)
    if file is not None:
        save(figure, file, diagram.nodes, picture.layout)
    return figure


def _painted(
    picture: Picture,
    nodes: Mapping[str, Vertex],
    texts: Mapping[str, str],
    captions: Mapping[str, str],
) -> Figure:
    figure = _canvas(picture)
    for plates, box in picture.layout.plates.items():
        _plate(figure.axes[0], box, "-".join(plates))
        _caption(figure.axes[0], picture.captions[plates], captions[plates[-1]])
    for (parent, child), way in picture.ways.items():
        _arrow(figure.axes[0], way, f"{parent}-{child}")
    for name, box in picture.layout.nodes.items():
        _node(figure.axes[0], nodes[name], box, texts[name])
    return figure


def _check_set(given: Mapping[str, str]) -> None:
    for name, latex in given.items():
        try:
            TextPath((0, 0), f"${latex}$", prop=CM)
        except ValueError as error:
            raise ValueError(
                f"labels={{'{name}': {latex!r}}} is no LaTeX that matplotlib can set "
                f"({str(error).splitlines()[-1]}); write it in what mathtext knows, or take tikz()"
            ) from error


def _canvas(picture: Picture) -> Figure:
    curves = [p for way in picture.ways.values() for p in way.points()]
    bounds = with_points(picture.layout.bounds, curves)
    width, height = bounds.width + 2 * _MARGIN, bounds.height + 2 * _MARGIN
    figure = Figure(figsize=(width * INCH, height * INCH), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(bounds.left - _MARGIN, bounds.right + _MARGIN)
    axes.set_ylim(bounds.bottom - _MARGIN, bounds.top + _MARGIN)
    axes.set_axis_off()
    return figure


def _plate(axes: Axes, box: Box, name: str) -> None:
    round_box = _rounded(box, 0.18)
    round_box.set(fill=False, edgecolor=_PLATE, linewidth=1.1, zorder=1)
    round_box.set_gid(readable(f"plate-{name}"))
    axes.add_patch(round_box)


def _caption(axes: Axes, box: Box, caption: str) -> None:
    axes.text(
        box.right,
        box.bottom + 0.07,
        f"${caption}$",
        fontsize=SMALL,
        color=_PLATE,
        ha="right",
        va="baseline",
        math_fontfamily="cm",
    )


def _rounded(box: Box, radius: float) -> FancyBboxPatch:
    corner = (box.left + radius, box.bottom + radius)
    size = (box.width - 2 * radius, box.height - 2 * radius)
    return FancyBboxPatch(corner, *size, boxstyle=f"round,pad={radius},rounding_size={radius}")


def _node(axes: Axes, vertex: Vertex, box: Box, text: str) -> None:
    name = f"node-{vertex.name}"
    if vertex.role is Role.FACTOR:
        at = square(box)
        black = Rectangle((at.left, at.bottom), at.width, at.height)
        _add(axes, black, name, facecolor=_INK, edgecolor=_INK)
        _write(axes, box.x - 0.25, box.y - 0.08, text, SMALL)
        return
    grey = vertex.is_observed and not vertex.is_predicted
    _add(axes, _outline(box), name, facecolor=_SHADE if grey else "white", edgecolor="none")
    if vertex.is_predicted:
        half = Rectangle((box.x, box.bottom), box.width / 2, box.height, transform=axes.transData)
        shade = _add(axes, _outline(box), f"half-{vertex.name}", facecolor=_SHADE, edgecolor="none")
        shade.set_clip_path(half)
    _add(axes, _outline(box), f"rim-{vertex.name}", facecolor="none", edgecolor=_INK, width=1.3)
    if vertex.role is Role.DETERMINISTIC:
        inner = _outline(box, inset=0.07)
        _add(axes, inner, f"inner-{vertex.name}", facecolor="none", edgecolor=_INK, width=0.9)
    _write(axes, box.x, box.y - 0.11, text, FONT)


def _add(
    axes: Axes, shape: Patch, name: str, *, facecolor: str, edgecolor: str, width: float = 0.0
) -> Patch:
    """A shape over the arrows, in the order in which shapes are added."""
    shape.set(facecolor=facecolor, edgecolor=edgecolor, linewidth=width, zorder=3)
    shape.set_gid(readable(name))
    return axes.add_patch(shape)


def _write(axes: Axes, x: float, y: float, latex: str, size: float) -> None:
    """Mathematics on a baseline, which all nodes of a row have in common."""
    axes.text(
        x,
        y,
        f"${latex}$",
        fontsize=size,
        color=_INK,
        ha="center",
        va="baseline",
        math_fontfamily="cm",
        zorder=5,
    )


def _outline(box: Box, inset: float = 0.0) -> Patch:
    radius = box.height / 2 - inset
    if box.width == box.height:
        return Circle((box.x, box.y), radius)
    return _rounded(Box(box.x, box.y, box.width - 2 * inset, box.height - 2 * inset), radius)


def _arrow(axes: Axes, way: Route, name: str) -> None:
    curve = Curve([way.start, way.control, way.end], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])
    arrow = FancyArrowPatch(
        path=curve,
        arrowstyle="-|>,head_length=5,head_width=2.6",
        color=_INK,
        linewidth=1.2,
        shrinkA=0,
        shrinkB=0,
        zorder=2,
        joinstyle="miter",
    )
    arrow.set_gid(readable(f"arrow-{name}"))
    axes.add_patch(arrow)
