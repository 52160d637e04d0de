"""Sections as one HTML page that needs nothing else: figures, numbers and the code inside it."""

from __future__ import annotations

import base64
import html
import inspect
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.mathtext import math_to_image

from bayesmeta.lecture.section import Number, Section

_STYLE = """
:root { --ink: #1b1b1b; --soft: #5c5c5c; --line: #d9d9d9; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff;
       font: 1.06rem/1.6 Charter, "Bitstream Charter", Georgia, "DejaVu Serif", serif; }
main, header, nav { max-width: 46rem; margin: 0 auto; padding: 0 1.2rem; }
header { padding-top: 3rem; }
h1, h2, nav, figcaption, table, summary, .time {
  font-family: system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3.2rem 0 .6rem; line-height: 1.3; }
p { margin: .8rem 0; }
nav ol { padding-left: 1.4rem; font-size: .95rem; columns: 2; column-gap: 2rem; }
nav li { break-inside: avoid; margin: .15rem 0; }
a { color: var(--accent); }
figure { margin: 1.4rem 0; }
figure img { max-width: 100%; height: auto; display: block; margin: 0 auto; }
figcaption { text-align: center; color: var(--soft); font-size: .88rem; margin-top: .3rem; }
.wide { width: min(96vw, 62rem); margin-left: 50%; transform: translateX(-50%); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; margin: 1.2rem 0; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid var(--line);
         font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; }
details { border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); margin: 1rem 0; }
summary { cursor: pointer; padding: .5rem 0; color: var(--soft); font-size: .9rem;
          overflow-wrap: anywhere; }
pre { overflow-x: auto; background: #f6f6f6; padding: .9rem; margin: 0 0 .9rem;
      font: .8rem/1.5 "DejaVu Sans Mono", ui-monospace, monospace; }
code { font-family: "DejaVu Sans Mono", ui-monospace, monospace; font-size: .88em; }
.time { color: var(--soft); font-size: .85rem; }
@media (max-width: 40rem) { nav ol { columns: 1; } h1 { font-size: 1.6rem; } }
"""


@dataclass(frozen=True)
class Built:
    """A section and the seconds that it took."""

    name: str
    section: Section
    seconds: float


def page(title: str, introduction: str, parts: Sequence[Built]) -> str:
    """The whole page.

    Args:
        title: its head.
        introduction: paragraphs, apart by empty lines.
        parts: the sections in order.
    """
    contents = "\n".join(
        f'<li><a href="#{p.name}">{html.escape(p.section.title)}</a></li>' for p in parts
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><h1>{html.escape(title)}</h1>{_paragraphs(introduction)}</header>
<nav><ol>
{contents}
</ol></nav>
<main>
{"".join(map(_section, parts))}
</main>
</body>
</html>
"""


def _section(part: Built) -> str:
    section = part.section
    code = "".join(
        f"<details><summary>{html.escape(_where(source))}</summary>"
        f"<pre><code>{html.escape(inspect.getsource(source))}</code></pre></details>"
        for source in section.code
    )
    return f"""<section id="{part.name}">
<h2>{html.escape(section.title)}</h2>
{_paragraphs(section.text)}
{_figures(section.figures)}{_table(section.numbers)}
{code}<p class="time">Computed in {part.seconds:.0f} s.</p>
</section>
"""


def _paragraphs(text: str) -> str:
    """Paragraphs, apart by empty lines; what stands between dollars is mathematics."""
    found = []
    for paragraph in text.strip().split("\n\n"):
        parts = " ".join(paragraph.split()).split("$")
        words = (_mathematics(p) if k % 2 else html.escape(p) for k, p in enumerate(parts))
        found.append(f"<p>{''.join(words)}</p>")
    return "".join(found)


def _mathematics(latex: str) -> str:
    data = io.BytesIO()
    with rc_context({"mathtext.fontset": "cm", "font.size": 13.5}):
        depth = math_to_image(f"${latex.strip()}$", data, format="svg", dpi=72)
    source = base64.b64encode(data.getvalue()).decode()
    style = f"vertical-align: {-depth:.0f}px; max-width: 100%"
    alt = html.escape(latex.strip())
    return f'<img alt="{alt}" style="{style}" src="data:image/svg+xml;base64,{source}">'


def _figures(figures: Mapping[str, Figure]) -> str:
    return "".join(
        _figure(stem.replace("_", " "), figure, has_caption=len(figures) > 1)
        for stem, figure in figures.items()
    )


def _figure(name: str, figure: Figure, *, has_caption: bool) -> str:
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=160)
    source = base64.b64encode(data.getvalue()).decode()
    wide = ' class="wide"' if figure.get_figwidth() > 8 else ""
    size = f"width: {figure.get_figwidth() * 96:.0f}px"
    caption = f"<figcaption>{html.escape(name)}</figcaption>" if has_caption else ""
    image = f'<img alt="{html.escape(name)}" style="{size}" src="data:image/png;base64,{source}">'
    return f"<figure{wide}>{image}{caption}</figure>"


def _table(numbers: Sequence[Number]) -> str:
    if not numbers:
        return ""
    rows = "".join(
        f"<tr><td>{html.escape(n.what)}</td>{''.join(f'<td>{c}</td>' for c in n.cells)}</tr>"
        for n in numbers
    )
    head = "<tr><th></th><th>found</th><th>standard error</th><th>closed form</th></tr>"
    return f'<div class="scroll"><table>{head}{rows}</table></div>'


def _where(source: object) -> str:
    module = inspect.getmodule(source)
    name = getattr(source, "__name__", "")
    return name if module is source or module is None else f"{module.__name__}.{name}"
