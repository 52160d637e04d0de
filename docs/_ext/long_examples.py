"""Scripts of examples/ as sphinx-gallery reads them: a heading, and where their output stands."""

from __future__ import annotations

import ast
from pathlib import Path

from plain_docstrings import as_rst
from sphinx.application import Sphinx

# Where the output of a script is kept; what is not here has it in its docstring.
KEPT = {
    "amortised_radon": "amortised",
    "bridge": "transfer",
    "few_tasks": "few_tasks",
    "image_completion": "amortised",
    "intents": "transfer",
    "ladder": "ladder",
    "lynx_hare": "amortised",
    "neural_processes": "benchmarks/functions",
    "omniglot": "few_shot",
    "photographs": "transfer",
    "pooling": "transfer",
    "probe_then_tune": "transfer",
    "surgery": "transfer",
}
STORED = Path(__file__).parent.parent / "stored"
HEADER = """Longer examples
===============

Scripts of the folder ``examples``, shown and not run when this site is built. How long each takes,
and what it found, its first lines say; each takes ``--smoke`` to see that it runs, and ``--out``.
"""


def converted(source: str, name: str) -> str:
    """A script whose docstring has a heading, and says where its output is kept."""
    text = ast.get_docstring(ast.parse(source)) or ""
    head, _, rest = text.partition("\n")
    title, _, more = head.rstrip(".").partition(": " if ": " in head else ", ")
    start = source.index('"""')
    end = source.index('"""', start + 3) + 3
    kept = [f"What it measured: :doc:`/{KEPT[name]}`.", ""] if name in KEPT else []
    printed = stored(name)
    body = [title, "=" * len(title), "", f"{more[:1].upper()}{more[1:]}." if more else "", ""]
    body += [*as_rst(rest.strip("\n").split("\n")), ""]
    picture = next(iter(sorted(STORED.glob(f"{name}*.png"))), STORED / "plates.png")
    thumbnail = f"\n# sphinx_gallery_thumbnail_path = 'stored/{picture.name}'\n"
    return 'r"""' + "\n".join([*body, *kept, *printed]) + '"""' + thumbnail + source[end:]


def stored(name: str) -> list[str]:
    """What a script printed, and its figure, where docs/stored has them."""
    lines = []
    if (STORED / f"{name}.txt").exists():
        lines += [
            "What it printed, on two cores that other work shared:",
            "",
            f".. literalinclude:: /stored/{name}.txt",
        ]
        lines += ["   :language: text", ""]
    for path in sorted(STORED.glob(f"{name}*.png")):
        lines += [f".. image:: /stored/{path.name}", f"   :alt: {path.stem}", ""]
    return lines


def write(app: Sphinx) -> None:
    """All scripts, into docs/generated/long_examples; one that is the same is left alone."""
    out = Path(app.srcdir) / "generated" / "long_examples"
    out.mkdir(parents=True, exist_ok=True)
    texts = {"GALLERY_HEADER.rst": HEADER}
    for path in (Path(app.srcdir).parent / "examples").glob("*.py"):
        texts[path.name] = converted(path.read_text(encoding="utf-8"), path.stem)
    for old in out.iterdir():
        if old.name not in texts and old.suffix == ".py":
            old.unlink()
    for name, text in texts.items():
        path = out / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Before sphinx-gallery looks for scripts."""
    app.connect("builder-inited", write, priority=1)
    return {"parallel_read_safe": True}
