"""Machine code on disk: built once a machine, found by other processes, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from pathlib import Path

import torch


def folder() -> Path:
    """$BAYESMETA_CACHE, or ~/.cache/bayesmeta; made where it is missing."""
    base = os.environ.get("BAYESMETA_CACHE") or Path.home() / ".cache" / "bayesmeta"
    path = Path(base)
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def place(source: Path, target: Path) -> None:
    """Copy into the cache so that other processes see the whole file or none."""
    content = source.read_bytes()
    for path, data in (
        (target, content),
        (target.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode()),
    ):
        with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)


def is_whole(path: Path) -> bool:
    """Whether the file is there as `place` wrote it."""
    check = path.with_suffix(".sha256")
    if not (path.exists() and check.exists()):
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() == check.read_text()


def processor() -> str:
    """What -march=native depends on; the features that Linux lists, where there is Linux."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    features = {x for x in lines if x.startswith(("flags", "Features", "model name", "CPU part"))}
    return "\n".join(
        [platform.machine(), torch.backends.cpu.get_cpu_capability(), *sorted(features)]
    )
