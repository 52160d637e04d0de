"""The house: a wing imports from wings before it only, and no files stand in a circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

import bayesmeta as bm

ROOT = Path(__file__).parent.parent

# Which way data flows: folders, and the files that stand beside them. The face of the package
# shows them all; the zoo and the lecture are its users.
WINGS = (
    *(
        "data",
        "distributions",
        "running",
        "model",
        "capturing",
        "engine",
        "nets",
        "task_level",
        "hills",
        "sufficiency",
        "training",
        "amortisation",
        "fine_tuning",
    ),
    *(
        "phi",
        "theta",
        "draws",
        "posterior",
        "information",
        "diagram",
        "graph",
        "fit",
        "evaluation",
        "influence",
        "simulation",
        "trust",
        "formula",
        "presets",
    ),
)
ORDER = (*WINGS, "__init__", "models", "lecture")
HOMES = {
    "bayesmeta": "bayesmeta",
    "models": "bayesmeta.models",
    "examples/lecture": "bayesmeta.lecture",
}


def sources(root: Path) -> dict[str, Path]:
    """Each file of the package by its dotted name; a folder's own name is that of its face."""
    found = {}
    for folder, prefix in HOMES.items():
        for path in sorted((root / folder).rglob("*.py")):
            # A checkout may hold a link to the zoo inside the package: the same files again.
            if path.resolve().is_relative_to((root / folder).resolve()):
                inner = path.relative_to(root / folder).with_suffix("").parts
                found[".".join((prefix, *inner)).removesuffix(".__init__")] = path
    return found


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """What runs, in functions too; what stands under `if TYPE_CHECKING:` does not."""
    is_unseen = isinstance(tree, ast.If) and ast.unparse(tree.test) == "TYPE_CHECKING"
    for node in tree.orelse if is_unseen else ast.iter_child_nodes(tree):
        yield node
        yield from statements(node)


def imported(module: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The dotted names under bayesmeta that a file imports, files where there are such."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level]
            base = [*(above if node.level else []), *([node.module] if node.module else [])]
            source = ".".join(base)
            inside = [f"{source}.{a.name}" for a in node.names]
            names = [name if name in known else source for name in inside]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "bayesmeta")


def place(module: str) -> str:
    """The wing of a file, or its own name where it stands beside the wings."""
    return (*module.split("."), "__init__")[1]


def violations(root: Path) -> list[str]:
    """One sentence for each import against the order of the wings, and for each circle."""
    known = sources(root)
    arrows = {(m, target) for m, path in known.items() for target in imported(m, path, known)}
    found = [
        f"{module} has no wing: '{place(module)}' is not in WINGS"
        for module in known
        if place(module) not in ORDER
    ]
    backward = {
        (module, target)
        for module, target in arrows
        if {place(module), place(target)} <= set(ORDER)
        and ORDER.index(place(target)) > ORDER.index(place(module))
    }
    found += [
        f"{module} imports {target}: '{place(target)}' stands after '{place(module)}' (the table "
        "of wings is in CONTRIBUTING.md); move what both need to the earlier one"
        for module, target in sorted(backward)
    ]
    return found + circles(nx.DiGraph(arrows - backward))


def circles(arrows: nx.DiGraph) -> list[str]:
    """A sentence for each circle that is left when those named before are cut."""
    found = []
    while True:
        try:
            circle = nx.find_cycle(arrows)
        except nx.NetworkXNoCycle:
            return found
        way = " -> ".join([circle[0][0], *(target for _, target in circle)])
        found.append(f"a circle of imports: {way}; move what both need to a file of its own")
        arrows.remove_edge(*circle[-1])


def test_every_import_goes_with_the_flow() -> None:
    found = violations(ROOT)
    if found:
        pytest.fail("\n".join(found))


PUBLIC = ("bayesmeta", "bayesmeta.nets", "bayesmeta.information")
ABOVE = ("bayesmeta.models", "bayesmeta.lecture")


def private(path: Path, module: str) -> list[str]:
    """What the zoo, the lecture or an example imports that a user would not."""
    known = {name: file for name, file in sources(ROOT).items() if not name.startswith(ABOVE)}
    found = imported(module, path, known)
    return [name for name in found if name not in PUBLIC and not name.startswith(ABOVE)]


def test_the_zoo_and_the_examples_use_public_names_alone(tmp_path: Path) -> None:
    users = {name: path for name, path in sources(ROOT).items() if name.startswith(ABOVE)}
    users |= {path.stem: path for path in (ROOT / "examples").glob("*.py")}
    assert len(users) > 40
    assert not [found for name, path in users.items() for found in private(path, name)]
    inside = tmp_path / "inside.py"
    inside.write_text("import bayesmeta as bm\nfrom bayesmeta.data.tasks import Tasks")
    assert private(inside, "inside") == ["bayesmeta.data.tasks"]


def test_the_tree_is_read() -> None:
    known = sources(ROOT)
    assert {"bayesmeta", "bayesmeta.data.tasks", "bayesmeta.models.radon"} <= set(known)
    arrows = set(imported("bayesmeta.fit", known["bayesmeta.fit"], known))
    assert "bayesmeta.data.tasks" in arrows and "bayesmeta.evaluation" not in arrows
    assert {place(module) for module in known} == set(ORDER)


LATE, CIRCLE = "'posterior' stands after 'model'", "a circle of imports: "


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from bayesmeta.posterior.summary import summary", LATE),
        ("def f():\n    import bayesmeta.posterior", LATE),
        ("from ..posterior import Posterior", LATE),
        ("if not TYPE_CHECKING:\n    from bayesmeta.posterior import Posterior", LATE),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import bayesmeta.posterior", LATE),
        ("from bayesmeta import Tasks", "'__init__' stands after 'model'"),
        ("from bayesmeta.model import checks", CIRCLE),
        ("def f():\n    from bayesmeta.model.checks import run", CIRCLE),
        ("from .checks import run", CIRCLE),
        ("from . import checks", CIRCLE),
    ],
)
def test_an_import_against_the_flow_is_found(tmp_path: Path, source: str, complaint: str) -> None:
    write(tmp_path, "model/density.py", source)
    write(tmp_path, "model/checks.py", "from bayesmeta.model.density import Density")
    (found,) = violations(tmp_path)
    assert complaint in found
    assert complaint != CIRCLE or {"density", "checks"} == set(re.findall(r"model\.(\w+)", found))


def test_an_import_with_the_flow_passes(tmp_path: Path) -> None:
    source = "import torch\nfrom bayesmeta.data.tasks import Tasks\nfrom ..model.density import D\n"
    unseen = "if TYPE_CHECKING:\n    from bayesmeta.fit import fit\n"
    write(tmp_path, "phi/joint.py", source + unseen)
    assert not violations(tmp_path)


def test_a_file_without_a_wing_is_found(tmp_path: Path) -> None:
    write(tmp_path, "helpers.py", "")
    assert "has no wing" in violations(tmp_path)[0]


def write(root: Path, name: str, source: str) -> None:
    path = root / "bayesmeta" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)


def test_only_public_names_are_listed() -> None:
    assert dir(bm) == sorted(bm.__all__)
    assert all(hasattr(bm, name) for name in dir(bm))
