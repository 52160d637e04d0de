"""Names of every kind: each is set, by matplotlib and by pdflatex, and like no other."""

from __future__ import annotations

import logging
import random
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

import bayesmeta as bm
from bayesmeta.diagram.labels import labels
from bayesmeta.diagram.latex import Alphabet, in_latex, in_mathtext, symbol, words
from bayesmeta.diagram.saving import readable
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role

NAMES = (
    *("μ", "mu", "µ", "θ_äö", "事前", "a-b", "a.b", "a/b", "a_b_c", "__x__", "_x", "x_", "50%"),
    *("R&D", "a&b", "<b>", "a$b", "$mu$", "a#b", "a^b", "a^", "a\\b", "\\alpha", "{a", "a}"),
    *("a~b", "a b", "a_b", "a  b", " a", "a ", " ", 'a"b', "it's", "it''s", "100", "x2", "x_2"),
    *("sigma_y", "mu_alpha_beta", "phi", "phi_i", "theta_0", "theta0", "lambda", "é", "e\u0301"),
    *("😀", "a\nb", "a\tb", "a\x00b", "a:b", "a,b", "a|b", "tau2", "frac", "sum", "_", "", "⟨⟩"),
    *("⟨U+4E8B⟩", "事", "事 前", "\ud800", "a[b]", "eta_{1}", "net.layers.0.weight", "скорость"),
    *(
        "ϕ",
        "\u212b",
        "\xc5",
        "ﬁ",
        "fi",
        "½",
        "±",
        "¡",
        "İ",
        "\u0131",
        "i",
        "ß",
        "ss",
        "Ω",
        "\u2126",
    ),
    *(
        "\u202eabc",
        "\xa0",
        "\xad",
        "ẞ",
        "ø_ø",
        "x_é",
        "\u03b3_事",
        "β12",
        "\u03a5",
        "à\u0327",
        "%",
        "%%",
    ),
    *("\\\\", "--", "-", "`", "?`"),
)
ALPHABETS = {"latex": in_latex, "mathtext": in_mathtext}


def random_names(seed: int, count: int) -> list[str]:
    """Of letters of few kinds, so that many are nearly alike."""
    rng = random.Random(seed)
    kinds: list[Callable[[], str]] = [
        lambda: rng.choice("ab_ ^~\\{}$&%#<>|\"'`-.01"),
        lambda: chr(rng.choice((rng.randint(0, 0x17F), rng.randint(0x370, 0x52F)))),
        lambda: chr(rng.randint(0, 0x2FFF)),
        lambda: chr(rng.randint(0, 0x10FFFF)),
    ]
    return ["".join(rng.choice(kinds)() for _ in range(rng.randint(0, 6))) for _ in range(count)]


EVERY_NAME = [*dict.fromkeys([*NAMES, *random_names(0, 600)])]


def alike(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Names that have the same LaTeX as one before."""
    first: dict[str, str] = {}
    return [(first[t], n) for n, t in texts.items() if first.setdefault(t, n) != n]


@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=ALPHABETS)
def test_no_two_names_are_alike(alphabet: Alphabet) -> None:
    assert not alike({name: words(name, alphabet) for name in EVERY_NAME})
    rng = random.Random(1)
    plates = ((), ("tasks",), ("tasks", "data"), ("features", "tasks"))
    nodes = {n: Vertex(n, Role.PHI, rng.choice(plates), ()) for n in EVERY_NAME}
    assert not alike(labels(nodes, alphabet))
    # As symbols alone, some are.
    assert len(alike({n: symbol(n, alphabet=alphabet) for n in EVERY_NAME})) == 3


def test_what_would_look_like_another() -> None:
    for alphabet in ALPHABETS.values():
        assert alphabet("⟨") is None and alphabet("⟩") is None
    assert words("a'b") != words("a''b") != words('a"b') == r"\mathrm{a{}^{\prime\prime}b}"


def test_the_shortest_of_names_alike_keeps_its_symbol() -> None:
    def found(*names: str) -> list[str]:
        return [*labels({n: Vertex(n, Role.THETA, (), ()) for n in names}).values()]

    assert found("μ") == found("mu") == [r"\mu"]
    assert found("mu", "μ") == [r"\mathrm{mu}", r"\mu"]
    assert found("theta_0", "theta0") == [r"\mathrm{theta\_0}", r"\theta_{0}"]
    nodes = {
        "phi": Vertex("phi", Role.PHI, ("tasks",), ()),
        "phi_i": Vertex("phi_i", Role.PHI, (), ()),
    }
    assert labels(nodes) == {"phi": r"\phi_{i}", "phi_i": r"\mathrm{phi\_i}"}


def test_matplotlib_sets_every_letter_in_its_own_fonts(caplog: pytest.LogCaptureFixture) -> None:
    font = FontProperties(math_fontfamily="cm")

    def width(latex: str) -> float:
        return float(TextPath((0, 0), f"${latex}$", prop=font).get_extents().width)

    every = "".join(sorted({c for name in EVERY_NAME[:250] for c in name}))
    with caplog.at_level(logging.WARNING):
        for start in range(0, len(every), 50):
            assert width(words(every[start : start + 50], in_mathtext)) > 10
        assert all(width(symbol(name, ["i"], alphabet=in_mathtext)) > 0 for name in NAMES[::3])
        assert not caplog.records
        width(r"\mathrm{事}")  # what would be seen of a lacking letter
        assert "does not have a glyph" in caplog.text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX")
def test_pdflatex_sets_every_name(tmp_path: Path) -> None:
    lines = [f"${symbol(name, ['i'])}$ ${words(name)}$\n" for name in EVERY_NAME]
    body = "\n".join(lines)
    assert body.isascii()
    head = r"\documentclass{article}\begin{document}"
    (tmp_path / "names.tex").write_text(head + body + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "names.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "names.log").read_text(errors="replace")
    assert not re.search(r"Missing character|LaTeX Warning: Command|invalid in math", log)


def many_names(tasks: bm.Tasks) -> None:
    """Sites, a plate and columns of such names."""
    for name in NAMES[::2]:
        pyro.sample(name, dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        with pyro.plate("R&D_\n{μ}", 2, dim=-3):
            z = pyro.sample("z&", dist.Normal(0.0, 1.0))
        mean = z.sum(0) + sum(tasks.x.values())
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("<y>", dist.Normal(mean, 1.0), obs=tasks.y)


@pytest.fixture(scope="module")
def graph() -> bm.Graph:
    columns = {f"c{name}": torch.ones(2, 2) for name in NAMES[1:12:2]}
    return bm.graph(many_names, bm.Tasks.from_arrays(torch.ones(2, 2), columns))


def test_files_of_every_name_are_written_and_an_svg_can_be_read(
    graph: bm.Graph, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for suffix in ("pdf", "svg"):
        graph.draw(tmp_path / f"graph.{suffix}")
    assert not caplog.records
    root = ElementTree.parse(tmp_path / "graph.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    assert root[0].tag == f"{space}title"
    texts = {text.text or "" for text in root.iter(f"{space}text")}
    for name in (*graph.nodes, "R&D_\n{μ}"):
        assert readable(name) in (root[0].text or "")
        assert readable(name) in texts
    ids = [e.get("id") for e in root.iter() if (e.get("id") or "").startswith("node-")]
    assert len(set(ids)) == len(ids) == len(graph.nodes)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX")
def test_tikz_of_every_name_compiles(graph: bm.Graph, tmp_path: Path) -> None:
    head = r"\documentclass{article}\usepackage{tikz}\usetikzlibrary{shapes.misc}\begin{document}"
    body = graph.tikz() + f"${graph.factorisation()}$"
    (tmp_path / "graph.tex").write_text(head + body + r"\end{document}")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "graph.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
