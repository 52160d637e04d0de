"""Each wing has a face: its job, its files in reading order, and no definition."""

from __future__ import annotations

import ast
import re
import tomllib
from itertools import combinations
from pathlib import Path

import pytest

from tests.test_imports import ROOT, WINGS, imported, sources

FOLDERS = [wing for wing in WINGS if (ROOT / "bayesmeta" / wing).is_dir()]


def complaints(folder: Path) -> list[str]:
    """What is wrong with a wing."""
    tree = ast.parse((folder / "__init__.py").read_text())
    said = ast.get_docstring(tree) or ""
    listed = [name for line in re.findall(r"^- (.*?):", said, re.M) for name in names_in(line)]
    files = {path.stem: path for path in folder.glob("*.py") if path.stem != "__init__"}
    found = [] if said.splitlines()[0].endswith(".") else ["its first line says no job"]
    found += [
        f"{name} is not listed in the docstring of __init__: add a line '- `{name}`: ...'"
        for name in sorted(files.keys() - set(listed))
    ]
    found += [f"{name} is listed and not there" for name in sorted(set(listed) - files.keys())]
    if any(not allowed(node) for node in tree.body):
        found.append("it defines something")
    known = sources(folder.parent.parent)
    dotted = {name: f"bayesmeta.{folder.name}.{name}" for name in listed if name in files}
    for early, late in combinations(dotted, 2):
        if dotted[late] in imported(dotted[early], files[early], known):
            found.append(f"{early} imports {late}, which is to be read after it")
    return found


def names_in(line: str) -> list[str]:
    return re.findall(r"`(\w+)`", line)


def allowed(node: ast.stmt) -> bool:
    """The docstring, imports and __all__."""
    is_doc = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    is_all = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    return is_doc or is_all or isinstance(node, ast.ImportFrom)


@pytest.mark.parametrize("wing", FOLDERS)
def test_a_face_lists_its_files_in_reading_order(wing: str) -> None:
    assert not complaints(ROOT / "bayesmeta" / wing)


@pytest.mark.parametrize(
    ("face", "complaint"),
    [
        ('"""Draws.\n\n- `late`: last\n"""', "early is not listed"),
        ('"""Draws.\n\n- `early`, `late`, `gone`: all\n"""', "gone is listed and not there"),
        ('"""Draws.\n\n- `late`, `early`: all\n"""', "late imports early, which is to be read"),
        ('"""Draws.\n\n- `early`, `late`: all\n"""\n\nLIMIT = 3', "it defines something"),
    ],
)
def test_a_face_that_is_wrong_is_found(tmp_path: Path, face: str, complaint: str) -> None:
    folder = tmp_path / "bayesmeta" / "posterior"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(face)
    (folder / "early.py").write_text("")
    (folder / "late.py").write_text("from bayesmeta.posterior.early import something")
    (found,) = complaints(folder)
    assert complaint in found


def test_the_house_has_few_doors_and_no_wing_is_a_hall() -> None:
    assert len([p for p in (ROOT / "bayesmeta").iterdir() if p.is_file()]) <= 6
    assert max(len(list((ROOT / "bayesmeta" / wing).glob("*.py"))) for wing in FOLDERS) <= 17


def test_the_table_of_wings_is_theirs_in_their_order() -> None:
    document = (ROOT / "CONTRIBUTING.md").read_text().split("| wing |")[1].split("\n\n")[0]
    listed = re.findall(r"^\| `([\w.]+)` \|", document, re.M)
    assert [name.removesuffix(".py") for name in listed] == list(WINGS)


def test_every_wing_is_installed() -> None:
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {f"bayesmeta.{wing}" for wing in FOLDERS} <= set(given)
