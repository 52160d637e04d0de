"""One data flow: every module imports only from modules that stand before it in ORDER."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import bayesmeta as bm

ROOT = Path(__file__).parent.parent

# Which way data flows. "phi" and "theta" are folders; the zoo comes last and may use them all.
ORDER = (
    *("noise", "columns", "frames", "selection", "lookup", "tasks", "episodes"),
    *("ownership", "buckets"),
    *("run", "interrupt", "checkpoint"),
    *("problem", "checks", "parents", "structure"),
    *("latex", "paths", "vertices", "factorisation", "graph"),
    *("boxes", "layout", "routes", "draw", "tikz"),
    *("capture", "broadcast", "cache", "native", "sampler"),
    *("slots", "location_scale", "density"),
    *("nodes", "elimination", "precision", "curvature", "gauss_newton"),
    *("conditional", "ascent", "conditional_draws", "conjugate_gradients", "implicit"),
    *("schedule", "optimiser", "chunking", "stepper", "training"),
    *("held", "convolution", "normalisation", "pretrained", "nets"),
    *("layers", "part", "stages", "tuning"),
    *("perceptron", "encoders", "set_transformer", "convolutional", "guides", "spline_flow"),
    *("particles", "bounds", "truth", "readings", "importance"),
    *(
        "phi",
        "roles",
        "theta",
        "predict",
        "refine",
        "posterior",
        "gap",
        "prior",
        "neighbours",
        "information",
        "arviz",
        "diagnose",
        "saving",
    ),
    *("calibration", "validation", "search", "compare"),
    *("fit", "learning_curve", "leave_out", "presets", "models"),
)
# Methods that only forward to a function of their object, imported when called.
FORWARDS = {
    *(("posterior", later) for later in ("arviz", "diagnose", "saving")),
    *(("graph", later) for later in ("draw", "roles", "tikz")),
}


def sources(root: Path) -> Iterator[tuple[str, Path]]:
    """The dotted name and the file of each module of the package; the zoo lies beside it."""
    for folder, prefix in (
        (root / "bayesmeta", "bayesmeta"),
        (root / "models", "bayesmeta.models"),
    ):
        for path in sorted(folder.rglob("*.py")):
            # A checkout may hold a link to the zoo inside the package: the same files again.
            if path.resolve().is_relative_to(folder.resolve()):
                inner = path.relative_to(folder).with_suffix("").parts
                yield ".".join((prefix, *inner)), path


def imported(module: str, tree: ast.AST) -> Iterator[str]:
    """The dotted names under bayesmeta that a module imports, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            is_package = source == "bayesmeta"
            names = [f"{source}.{a.name}" for a in node.names] if is_package else [source]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "bayesmeta")


def violations(root: Path) -> list[str]:
    """One sentence for each import that goes against the flow."""
    found = []
    for module, path in sources(root):
        place = module.split(".")[1]
        if module == "bayesmeta.__init__":
            continue
        if place not in ORDER:
            found.append(f"{module} has no place in ORDER; say where it stands")
            continue
        for target in imported(module, ast.parse(path.read_text())):
            source = target.removeprefix("bayesmeta").removeprefix(".").split(".")[0]
            if source not in ORDER:
                found.append(f"{module} imports {target}: not a module in ORDER")
            elif (place, source) in FORWARDS:
                continue
            elif ORDER.index(source) > ORDER.index(place):
                found.append(f"{module} imports {target}, which stands after it")
            elif source == place and place not in ("phi", "theta", "models"):
                found.append(f"{module} imports itself")
    return found


def test_every_import_goes_with_the_flow() -> None:
    assert not violations(ROOT)


def test_the_tree_is_read() -> None:
    names = [name for name, _ in sources(ROOT)]
    assert "bayesmeta.tasks" in names and "bayesmeta.models.eight_schools" in names
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("from bayesmeta.fit import fit", "stands after it"),
        ("def f():\n    import bayesmeta.fit", "stands after it"),
        ("from .fit import fit", "stands after it"),
        ("from . import fit", "stands after it"),
        ("from bayesmeta import Tasks", "not a module in ORDER"),
        ("import bayesmeta", "not a module in ORDER"),
    ],
)
def test_an_import_against_the_flow_is_found(tmp_path: Path, source: str, complaint: str) -> None:
    (tmp_path / "bayesmeta").mkdir()
    (tmp_path / "bayesmeta" / "density.py").write_text(source)
    (found,) = violations(tmp_path)
    assert complaint in found


def test_an_import_with_the_flow_passes(tmp_path: Path) -> None:
    (tmp_path / "bayesmeta" / "phi").mkdir(parents=True)
    source = "import torch\nfrom bayesmeta.tasks import Tasks\nfrom ..density import Density\n"
    (tmp_path / "bayesmeta" / "phi" / "joint.py").write_text(source)
    assert not violations(tmp_path)


def test_a_module_without_a_place_is_found(tmp_path: Path) -> None:
    (tmp_path / "bayesmeta").mkdir()
    (tmp_path / "bayesmeta" / "helpers.py").write_text("")
    assert "no place in ORDER" in violations(tmp_path)[0]


def test_only_public_names_are_listed() -> None:
    assert dir(bm) == sorted(bm.__all__)
    assert all(hasattr(bm, name) for name in dir(bm))
