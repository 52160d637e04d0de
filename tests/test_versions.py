"""The oldest versions that are tried are the lower bounds, and the newest keep to them too."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
OLDEST, NEWEST = ROOT / "constraints-oldest.txt", ROOT / "constraints-newest.txt"


def required(python: str) -> dict[str, Version]:
    """The lower bound of each requirement of a Python, Optuna's and formulae's among them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = project["optional-dependencies"]
    given = [*project["dependencies"], *extra["search"], *extra["formula"]]
    found = [Requirement(text) for text in given]
    return {
        r.name: Version(next(iter(r.specifier)).version)
        for r in found
        if r.marker is None or r.marker.evaluate({"python_version": python})
    }


def pinned(path: Path) -> dict[str, Version]:
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return {name: Version(version) for name, version in (line.split("==") for line in lines)}


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    given, bounds = pinned(OLDEST), required("3.11")
    for name, bound in bounds.items():
        assert given[name].release[: len(bound.release)] == bound.release, name


def test_the_newest_versions_keep_to_the_bounds() -> None:
    given, bounds = pinned(NEWEST), required("3.13")
    assert {name for name, bound in bounds.items() if given[name] < bound} == set()
    assert "arviz-plots" in bounds and "arviz-plots" not in required("3.11")
