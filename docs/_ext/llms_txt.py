"""llms.txt at the site's root: a plain index, one line for each page."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

HEAD = """# bayesmeta

> Hierarchical models and meta-learning in Pyro: write the plates once, choose a pair of strategies.

"""


def line(app: Sphinx, name: str) -> str:
    """Title, address and first sentence of a page."""
    title = app.env.titles[name].astext()
    found = app.env.get_doctree(name).findall(nodes.paragraph)
    first = next((p.astext() for p in found if not p.astext().startswith("Go to the end")), "")
    first = " ".join(first.split()).split(". ")[0].rstrip(".:")
    return f"- [{title}]({app.builder.get_target_uri(name)}): {first}".removesuffix(": ")


def write(app: Sphinx, error: Exception | None) -> None:
    """After a build of the HTML that did not fail."""
    if error is None and app.builder.format == "html":
        hidden = ("generated/backreferences/", "sg_execution_times")
        pages = sorted(n for n in app.env.found_docs if not any(h in n for h in hidden))
        text = HEAD + "\n".join(line(app, name) for name in pages) + "\n"
        (Path(app.outdir) / "llms.txt").write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """When all pages are written."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True}
