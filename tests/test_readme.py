"""The README's code runs from top to bottom as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.filterwarnings("ignore:.*ArviZ is undergoing:FutureWarning")
@pytest.mark.parametrize("blocks", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_the_readme_runs(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    blocks: int,
) -> None:
    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    found = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(found) == 10
    exec("\n".join(found[:blocks]), {})
    printed = capsys.readouterr().out
    assert "effect  phi    tasks" in printed and "effect[H]" in printed
