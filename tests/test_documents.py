"""Documents: their code runs as it stands, page by page, and what they say of other files is so."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import matplotlib
import pytest

import bayesmeta as bm

ROOT = Path(__file__).parent.parent
# By page: how many blocks of Python it has; those that the fast tests run.
BLOCKS = {
    "README.md": (1, 1),
    "docs/index.md": (1, 1),
    "docs/eight_schools.md": (5, 4),
    "docs/few_shot.md": (2, 0),
    "docs/amortised.md": (2, 0),
    "docs/transfer.md": (1, 0),
}
CASES = [(page, fast) for page, (_, fast) in BLOCKS.items() if fast] + [
    pytest.param(page, every, marks=pytest.mark.slow)
    for page, (every, fast) in BLOCKS.items()
    if fast < every
]
# Pages whose tables have figures of other files.
QUOTING = {
    "docs/which_pair.md": None,
    "docs/index.md": "docs/trust.md",
    "docs/coming_from.md": None,
}


def blocks(page: str) -> list[str]:
    """The blocks of a page that are fenced as Python."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.mark.filterwarnings("ignore:.*ArviZ is undergoing:FutureWarning")
@pytest.mark.parametrize(("page", "count"), CASES)
def test_the_code_of_a_page_runs(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    count: int,
) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    found = blocks(page)
    assert len(found) == BLOCKS[page][0]
    exec("\n".join(found[:count]), {})
    printed = capsys.readouterr().out
    assert printed
    if page == "docs/eight_schools.md":
        assert "effect  phi    tasks" in printed and "effect[H]" in printed


def test_every_page_with_code_is_run() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    names = {path.relative_to(ROOT).as_posix() for path in pages if "generated" not in path.parts}
    others = {name for name in names - BLOCKS.keys() if blocks(name)}
    # Those have a test each, in tests/documents.
    assert all(name.startswith("docs/how_to/") for name in others)


def figures(text: str) -> set[str]:
    """The numbers of a text: with a decimal point, percent or a thousand's comma."""
    return set(re.findall(r"(?<![\w.])\d{1,3}(?:,\d{3})+|(?<![\w.])\d*\.\d+", text))


def not_in(cell: str, source: str) -> set[str]:
    """Figures of a table's row that the file which it names does not have."""
    return figures(cell) - figures((ROOT / source).read_text(encoding="utf-8"))


def rows(page: str) -> list[tuple[str, str]]:
    """Rows of a page's tables that have figures, with the file that each names."""
    found = []
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        line = re.sub(r"`[^`]*`", "", line)
        if line.startswith("|") and figures(re.sub(r"\]\(.*?\)", "", line)):
            named = re.search(r"\[((?:docs|benchmarks)/\w+\.md)\]", line)
            source = named.group(1) if named else QUOTING[page]
            assert source is not None, f"{page} does not say where this is from: {line}"
            found.append((line, source))
    return found


@pytest.mark.parametrize("page", QUOTING)
def test_figures_are_those_of_the_files_that_are_named(page: str) -> None:
    quoted = rows(page)
    assert quoted
    assert {line: missing for line, source in quoted if (missing := not_in(line, source))} == {}


def test_a_figure_that_no_file_has_is_found() -> None:
    assert not_in("| radon | .0374 off, 90.1% | |", "docs/trust.md") == {".0374", "90.1"}


def referred() -> set[str]:
    """The names of the reference, with their modules."""
    names = set()
    for path in (ROOT / "docs/api").glob("*.rst"):
        module = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith(".. currentmodule:: "):
                module = line.split(":: ")[1]
                names.add(module)
            elif module and re.fullmatch(r"   \w+", line):
                names.add(f"{module}.{line.strip()}")
    return names


def test_every_public_name_is_in_the_reference() -> None:
    public = {f"bayesmeta.{name}" for name in bm.__all__}
    public.remove("bayesmeta.families")  # which is the name of a module elsewhere
    for wing in ("information", "nets", "models", "formula.families"):
        module = importlib.import_module(f"bayesmeta.{wing}")
        public |= {module.__name__, *(f"{module.__name__}.{name}" for name in module.__all__)}
    files = {path.stem for path in (ROOT / "models").glob("*.py")} - {"__init__"}
    public |= {f"bayesmeta.models.{name}" for name in files}
    assert public - referred() == set()
    assert referred() - public == {"bayesmeta"}


def test_the_citation_agrees_with_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    said = dict(re.findall(r"^ *(?:- )?(\w+): (.+)$", citation, re.MULTILINE))
    assert (said["title"], said["version"]) == (project["name"], project["version"])
    assert (said["license"], said["name"]) == (project["license"], project["authors"][0]["name"])
