"""The wheel holds the whole package: the zoo, its data, the lecture, the native sources."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
# Folders whose content belongs in the wheel, and the name it has there.
SHIPPED = {
    "bayesmeta": "bayesmeta",
    "models": "bayesmeta/models",
    "examples/lecture": "bayesmeta/lecture",
}
SUFFIXES = {".py", ".typed", ".c", ".cpp", ".csv", ".gz", ".npz", ".md"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a source distribution, so that what the latter lacks shows too."""
    out = tmp_path_factory.mktemp("dist")
    run(Path(sys.executable), "-m", "build", "--outdir", str(out), str(ROOT))
    (path,) = out.glob("*.whl")
    return path


def run(python: Path, *arguments: str, cwd: Path | None = None) -> str:
    """What a command prints; its whole output is in the error if it fails."""
    done = subprocess.run([python, *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected() -> set[str]:
    """The files of the tree that a user must get."""
    return {
        f"{name}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, name in SHIPPED.items()
        for path in (ROOT / folder).rglob("*")
        if path.suffix in SUFFIXES and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_every_file(wheel: Path) -> None:
    files = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {"bayesmeta/py.typed", "bayesmeta/models/data/radon_mn.csv"} <= files
    assert files == expected()


def test_the_installed_zoo_is_a_subpackage(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    # Isolated, so that a PYTHONPATH of the tests is not taken for an installation.
    run(python, "-I", "-m", "pip", "install", "--quiet", "--no-deps", str(wheel))
    # Not an import: the environment has no torch.
    code = (
        "from importlib.machinery import PathFinder\n"
        "import sys, pathlib\n"
        "package = PathFinder.find_spec('bayesmeta').submodule_search_locations\n"
        "zoo = PathFinder.find_spec('bayesmeta.models', package)\n"
        "folder = pathlib.Path(zoo.origin).parent\n"
        "assert folder.is_relative_to(sys.prefix), folder\n"
        "assert PathFinder.find_spec('models') is None\n"
        "print(len((folder / 'data' / 'radon_mn.csv').read_text().splitlines()))\n"
    )
    lines = int(run(python, "-I", "-c", code, cwd=tmp_path))
    assert lines == len((ROOT / "models/data/radon_mn.csv").read_text().splitlines())
