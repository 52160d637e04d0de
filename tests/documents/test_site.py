"""What builds and checks the site, where it needs no Sphinx."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PAGE = '<html><body id="top"><a href="{}">x</a></body></html>'


def script(path: str) -> dict[str, Any]:
    """The names of a file of docs/, which is no package."""
    return runpy.run_path(str(ROOT / "docs" / path))


def test_docstrings_keep_their_equations_and_lose_their_markup() -> None:
    text = ["A |x| of `f(x)` and a*b, phi_.", "", "    p(x | y) = 1*2", "", "Args:", "    x: `y`."]
    assert script("_ext/plain_docstrings.py")["as_rst"](text) == [
        r"A \|x\| of ``f(x)`` and a\*b, phi\_.",
        "",
        "::",
        "",
        "    p(x | y) = 1*2",
        "",
        "Args:",
        "    x: ``y``.",
    ]


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("other.html", []),
        ("other.html#top", []),
        ("https://example.org/nowhere", ["no page links to it"]),
        ("nowhere.html", ["is not there", "no page links to it"]),
        ("other.html#nowhere", ["has no such place"]),
        ("#top", ["no page links to it"]),
    ],
)
def test_links_that_lead_nowhere_are_found(tmp_path: Path, link: str, found: list[str]) -> None:
    (tmp_path / "index.html").write_text(PAGE.format(link))
    (tmp_path / "other.html").write_text(PAGE.format("index.html"))
    said = script("check_links.py")["broken"](tmp_path)
    assert len(said) == len(found)
    assert all(part in sentence for part, sentence in zip(found, said, strict=True))


def test_what_the_site_needs_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [Requirement(text) for text in project["optional-dependencies"]["docs"]]
    lines = (ROOT / "constraints-docs.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if line and line[0] != "#")
    for requirement in needed:
        version = pins.get(requirement.name, pins.get(requirement.name.replace("-", "_")))
        assert version is not None and version in requirement.specifier
