"""A drawing as a file: the same bytes each time, with a title, and in SVG with names as text."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from bayesmeta.diagram.boxes import Layout, Point
from bayesmeta.diagram.vertices import Vertex

_FORMATS = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".png": {"Software": None}}
_UNREADABLE = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def checked_path(path: str | Path) -> Path:
    """A path whose suffix says what to write.

    Raises:
        ValueError: for another suffix.
    """
    file = Path(path)
    if file.suffix.lower() not in _FORMATS:
        raise ValueError(f"path='{file}' ends in '{file.suffix}'; give {', '.join(_FORMATS)}")
    return file


def save(figure: Figure, file: Path, nodes: Mapping[str, Vertex], layout: Layout) -> None:
    """Write the file, titled by its nodes.

    Letters are drawn as curves; an SVG has names, where they are drawn, as unseen text, too.
    """
    suffix, data = file.suffix.lower(), io.BytesIO()
    metadata = {**_FORMATS[suffix], "Title": readable(title(nodes))}
    # Ids of a file are drawn at random, unless there is a salt.
    with rc_context({"svg.hashsalt": "bayesmeta", "svg.fonttype": "path"}):
        figure.savefig(data, format=suffix[1:], metadata=metadata, dpi=200)
    content = data.getvalue()
    if suffix == ".svg":
        at = [(name, (box.x, box.y)) for name, box in layout.nodes.items()]
        at += [(way[-1], (box.x, box.bottom)) for way, box in layout.plates.items()]
        content = content.replace(b"</svg>", _unseen(figure, at).encode() + b"</svg>")
    file.write_bytes(content)


def title(nodes: Mapping[str, Vertex]) -> str:
    """The nodes in words: "mu; phi given mu [tasks]; ..."."""
    return "; ".join(
        v.name
        + (f" given {', '.join(v.parents)}" if v.parents else "")
        + (f" [{', '.join(v.plates)}]" if v.plates else "")
        for v in nodes.values()
    )


def readable(text: str) -> str:
    """Text with control characters, and what else XML has no place for, as code points."""
    return _UNREADABLE.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)


def _unseen(figure: Figure, names: Iterable[tuple[str, Point]]) -> str:
    """Names as SVG, which are read and found, but cover nothing."""
    (axes,) = figure.axes
    to_figure = axes.transData + figure.transFigure.inverted()
    width, height = 72 * figure.get_size_inches()
    lines = ['<g id="names" fill-opacity="0" font-size="12" text-anchor="middle">']
    for name, point in names:
        x, y = to_figure.transform(point)
        at = f'x="{x * width:.2f}" y="{(1 - y) * height:.2f}"'
        lines.append(f" <text {at}>{escape(readable(name))}</text>")
    return "\n".join([*lines, "</g>", ""])
