"""Every example runs, and writes the files that it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# What each example writes to --out. An example that is not here fails: add its files.
FILES = {
    "amortised_radon.py": {"amortised_radon.png"},
    "bridge.py": {"bridge.png"},
    "eight_schools.py": {"eight_schools.png"},
    "few_tasks.py": {"few_tasks.md"},
    "image_completion.py": {"image_completion.png"},
    "intents.py": {"intents.png"},
    "ladder.py": {"ladder.md"},
    "lynx_hare.py": {"lynx_hare.png"},
    "maml_sinusoids.py": {"maml_sinusoids.png"},
    "neural_processes.py": {"neural_processes.png"},
    "omniglot.py": {"omniglot_episode.png"},
    "pooling.py": {"pooling.png"},
    "photographs.py": {"photographs.png"},
    "probe_then_tune.py": {"probe_then_tune.png"},
    "radon.py": {
        "radon.nc",
        "radon_shrinkage.png",
        "radon_new_county.png",
        "radon_comparison.png",
    },
    "surgery.py": {"surgery.png"},
}

pytestmark = pytest.mark.slow


def test_every_listed_example_exists() -> None:
    assert set(FILES) <= {path.name for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_runs_and_writes_its_files(path: Path, tmp_path: Path) -> None:
    assert path.name in FILES, f"{path.name} has no test: add the files it writes to FILES"
    # A warning inside a script is for its reader; the library's own are errors in other tests.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    done = subprocess.run(
        [sys.executable, path, "--smoke", "--out", tmp_path],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    files = filter(Path.is_file, tmp_path.iterdir())
    written = {file.name for file in files if file.stat().st_size > 500}
    assert written == FILES[path.name]
    assert all(name in done.stdout for name in written), "the script does not say what it wrote"
