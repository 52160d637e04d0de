"""TikZ: one node for each, half shades, and a picture that closes what it opens."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import bayesmeta as bm
from bayesmeta.models import lecture
from tests.cases import EVERY

SUPPORT, QUERY = lecture.tasks(slope=True).split(2)
META = bm.graph(lecture.meta_learning, SUPPORT, QUERY)


def test_every_node_plate_and_arrow_is_there() -> None:
    text = META.tikz()
    for label in (r"$\theta$", r"$\phi_{i}$", r"$y^{\mathrm{query}}_{ij}$"):
        assert text.count(f"{{{label}}};") == 1
    assert text.count(r"\draw[arrow]") == len(META.edges)
    assert text.count(r"\draw[plate]") == 2
    assert text.count(r"\clip") == 1  # the half that is shaded
    assert META.tikz(labels={"theta": "t"}).count("{$t$};") == 1
    with pytest.raises(ValueError, match="psi"):
        META.tikz(labels={"psi": "p"})


@pytest.mark.parametrize("name", EVERY)
def test_braces_and_environments_are_closed(name: str) -> None:
    model, tasks, _ = EVERY[name]
    text = bm.graph(model, tasks).tikz()
    assert text.count("{") == text.count("}")
    for kind in ("tikzpicture", "scope"):
        assert text.count(rf"\begin{{{kind}}}") == text.count(rf"\end{{{kind}}}")
    assert not re.search(r"nan|inf", text.replace("minimum", ""))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX")
def test_latex_sets_every_model(tmp_path: Path) -> None:
    graphs = [META, *(bm.graph(model, tasks) for model, tasks, _ in EVERY.values())]
    head = r"\documentclass{article}\usepackage{amsmath,tikz}\usetikzlibrary{shapes.misc}"
    body = "\n\n".join(f"{graph.tikz()} ${graph.factorisation()}$" for graph in graphs)
    (tmp_path / "graphs.tex").write_text(head + r"\begin{document}" + body + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "graphs.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
