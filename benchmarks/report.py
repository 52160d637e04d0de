"""The outcome of a benchmark as a table, for the terminal, Markdown and JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

COLUMNS = (
    "contestant",
    "chains x (tune + draws)",
    "sampling s",
    "compile s, first",
    "compile s, again",
    "min ESS",
    "min ESS/s",
    "of bayesmeta's",
    "min ESS/CPU s",
    "max R-hat",
    "divergences",
    "gap/sd",
    "core share",
)


@dataclass(frozen=True)
class Row:
    """One contestant on one problem: medians over the repeats, or the reason there are none."""

    problem: str
    contestant: str
    budget: str
    failure: str = ""
    sampling_s: float = 0.0
    compile_first_s: float = 0.0
    compile_again_s: float | None = None
    min_ess: float = 0.0
    min_ess_per_s: float = 0.0
    min_ess_per_cpu_s: float = 0.0
    slowest: str = ""
    max_rhat: float = 0.0
    divergences: int = 0
    gap: float = 0.0
    disagrees: bool = False
    core_share: float = 0.0
    rates: list[float] = field(default_factory=list)


def _cells(row: Row, reference: Row | None) -> list[str]:
    if row.failure:
        return [row.contestant, row.budget, row.failure, *[""] * (len(COLUMNS) - 3)]
    known = reference is not None and not reference.failure
    ratio = f"{row.min_ess_per_s / reference.min_ess_per_s:.3g}" if known and reference else "-"
    again = "-" if row.compile_again_s is None else f"{row.compile_again_s:.1f}"
    return [
        row.contestant,
        row.budget,
        f"{row.sampling_s:.2f}",
        f"{row.compile_first_s:.1f}",
        again,
        f"{row.min_ess:.0f} ({row.slowest})",
        f"{row.min_ess_per_s:,.1f}",
        ratio,
        f"{row.min_ess_per_cpu_s:,.1f}",
        f"{row.max_rhat:.3f}",
        f"{row.divergences}",
        f"{row.gap:.2f}" + (" DISAGREES" if row.disagrees else ""),
        f"{row.core_share:.2f}",
    ]


def table(rows: list[Row]) -> str:
    """A Markdown table for one problem, fastest first; also fit to be read as plain text."""
    reference = next((row for row in rows if row.contestant == "bayesmeta"), None)
    ordered = sorted(rows, key=lambda row: -row.min_ess_per_s)
    lines = [list(COLUMNS), *[_cells(row, reference) for row in ordered]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    padded = [[c.ljust(w) for c, w in zip(line, widths, strict=True)] for line in lines]
    head, *body = ["| " + " | ".join(line) + " |" for line in padded]
    return "\n".join([head, "|" + "|".join("-" * (w + 2) for w in widths) + "|", *body])


def machine() -> dict[str, Any]:
    """Processor, cores, system and Python."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def versions(packages: list[str]) -> dict[str, str]:
    """Installed versions by distribution name."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


NOTES = """Medians over {repeats} seeds ("divergences" is their sum), one core, each contestant in
a process of its own, all in one run. Min ESS is the smallest bulk ESS over the shared parameters
and those of every task. Sampling time includes tuning and excludes compilation, which is given
apart: at the first run, and again in a new process. "gap/sd" is the largest distance of a
posterior mean from that of the contestant with the most ESS, in posterior standard deviations
(short runs have Monte Carlo error). "core share" is processor time over wall time while sampling:
below about 0.95 the contestant waited, for its core or for itself, and ESS per CPU second is the
steadier figure.
"""


def write(folder: Path, rows: list[Row], packages: list[str], repeats: int) -> str:
    """Write results.md and results.json into `folder`, and return the Markdown."""
    about = machine()
    installed = versions(packages)
    problems = list(dict.fromkeys(row.problem for row in rows))
    parts = ["# Minimum effective samples per second\n", NOTES.format(repeats=repeats)]
    for problem in problems:
        parts.append(f"## {problem}\n\n" + table([r for r in rows if r.problem == problem]) + "\n")
    parts.append("Machine: " + ", ".join(f"{k} {v}" for k, v in about.items()) + ".\n")
    parts.append("Versions: " + ", ".join(f"{k} {v}" for k, v in installed.items()) + ".\n")
    text = "\n".join(parts)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.md").write_text(text)
    record = {"machine": about, "versions": installed, "rows": [asdict(row) for row in rows]}
    (folder / "results.json").write_text(json.dumps(record, indent=1) + "\n")
    return text
