"""Seconds from starting a process to an answer, on one core: bayesmeta, lme4, glmmTMB, nutpie.

python -m benchmarks.first_answer                 all of it; writes results_first_answer.md
python -m benchmarks.first_answer --before FOLDER  another checkout of bayesmeta beside this one
python -m benchmarks.first_answer --problems radon --smoke

Each contestant runs twice: with empty caches, and again. R's packages (Debian: r-base-core,
r-cran-lme4, r-cran-glmmtmb) and PyMC are shown as absent where they are not installed.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import arviz
import numpy as np

from benchmarks import problems
from benchmarks.arena import ROOT, Arena
from benchmarks.contest import Budget, arguments, received
from benchmarks.first.answers import rows
from benchmarks.problems import Problem

PAIRS = {
    "radon": (
        *("Point Exact", "Gaussian Exact", "Gaussian Joint", "Importance Exact"),
        *("NUTS Joint", "NUTS Exact"),
    ),
    "logistic": ("Point Laplace", "Importance Laplace", "NUTS Laplace", "NUTS Joint"),
    "school": ("Point Exact",),
    "eight_schools": ("Importance Exact", "NUTS Joint"),
}
MIXED = ("lme4", "glmmTMB")
NUTS = Budget(chains=4, tune=1000, draws=1000, seed=0)


@dataclass(frozen=True)
class Answer:
    """What one process took and said; a failure in words instead."""

    whole: float = float("nan")
    fit: float = float("nan")
    rate: float = float("nan")
    scales: tuple[float, ...] = ()
    failure: str = ""


@dataclass
class Row:
    """A contestant on a problem, cold and warm."""

    problem: str
    who: str
    answers: list[Answer] = field(default_factory=list)

    def cells(self) -> list[str]:
        """As the table has it."""
        failure = next((a.failure for a in self.answers if a.failure), "")
        if failure:
            return [self.problem, self.who, failure, "", "", "", ""]
        cold, warm = self.answers[0], self.answers[-1]
        numbers = [f"{x:.2f}" for x in (cold.whole, warm.whole, warm.fit)]
        rate = "" if np.isnan(warm.rate) else f"{warm.rate:,.0f}"
        scales = " ".join(f"{s:.3f}" for s in warm.scales[:5])
        return [self.problem, self.who, *numbers, rate, scales]


class Runner:
    """Processes with caches of their own."""

    def __init__(self, folder: Path, core: int, timeout: float) -> None:
        self.folder, self.core, self.timeout = folder, core, timeout

    def bayesmeta(self, problem: Problem, pair: str, package: Path, cache: str) -> Answer:
        """A pair of strategies, of the bayesmeta in a folder."""
        script = Path(__file__).parent / "first" / "answers.py"
        command = [sys.executable, str(script), str(self._npz(problem)), *pair.split()]
        return self._told(command, cache, {"PYTHONPATH": str(package)})

    def mixed(self, problem: Problem, package: str, cache: str) -> Answer:
        """lme4 or glmmTMB."""
        if shutil.which("Rscript") is None:
            return Answer(failure="absent: Rscript")
        table = self.folder / f"{problem.name}.csv"
        if not table.exists():
            _write_csv(table, problem)
        script = Path(__file__).parent / "first" / "mixed.R"
        return self._told(["Rscript", str(script), package, problem.name, str(table)], cache, {})

    def nutpie(self, problem: Problem, cache: str) -> Answer:
        """PyMC, sampled by nutpie."""
        if importlib.util.find_spec("pymc") is None:
            return Answer(failure="absent: pymc")
        out = Path(tempfile.mkdtemp(dir=self.folder))
        module = [sys.executable, "-m", "benchmarks.peers.pymc_nutpie"]
        told = self._told([*module, *arguments(self._npz(problem), out, NUTS)], cache, {})
        if told.failure:
            return told
        result = received(out)
        least = min(
            float(arviz.ess(x[..., k]))
            for x in (v.reshape(*v.shape[:2], -1) for v in result.draws.values())
            for k in range(x.shape[-1])
        )
        both = result.compiling.wall + result.sampling.wall
        return Answer(told.whole, both, least / result.sampling.wall)

    def _npz(self, problem: Problem) -> Path:
        path = self.folder / f"{problem.name}.npz"
        if not path.exists():
            problem.save(path)
        return path

    def _told(self, command: list[str], cache: str, more: dict[str, str]) -> Answer:
        arena = Arena(self.core, self.timeout, self.folder / cache)
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**arena.environment(), **more},
                capture_output=True,
                text=True,
                timeout=self.timeout,
                preexec_fn=arena.pin,
            )
        except subprocess.TimeoutExpired:
            return Answer(failure=f"no answer in {self.timeout:.0f} s")
        whole = time.perf_counter() - began
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return Answer(failure=f"failed: {last[:100]}")
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        if not lines:
            return Answer(whole)
        said = json.loads(lines[-1])
        rate = said["ess"] / said["sampling"] if "ess" in said else float("nan")
        return Answer(whole, said["fit"], rate, tuple(said.get("scales", ())))


def _write_csv(path: Path, problem: Problem) -> None:
    y, x, task = rows(problem.data, problem.name)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["y", "task", *(f"x{k + 1}" for k in range(x.shape[1]))])
        writer.writerows([*row] for row in np.column_stack([y, task, x]).tolist())


def collect(runner: Runner, names: list[str], before: Path | None, nuts: bool) -> list[Row]:
    """All contestants, cold and warm."""
    table = []
    for name in names:
        problem = getattr(problems, PROBLEMS[name])()
        pairs = [p for p in PAIRS[name] if nuts or not p.startswith("NUTS")]
        contestants = {
            f"bayesmeta, {p.replace(' ', ' + ')}": (runner.bayesmeta, p, ROOT) for p in pairs
        }
        if before is not None:
            contestants |= {
                f"before, {p.replace(' ', ' + ')}": (runner.bayesmeta, p, before) for p in pairs
            }
        if name != "eight_schools":
            contestants |= {package: (runner.mixed, package) for package in MIXED}
        if nuts and name in ("radon", "eight_schools"):
            contestants["PyMC, nutpie"] = (runner.nutpie,)
        for who, (run, *given) in contestants.items():
            row = Row(name, who)
            for _ in range(2):
                row.answers.append(run(problem, *given, f"{name}-{len(table)}"))
                if row.answers[-1].failure:
                    break
            table.append(row)
            print(" | ".join(row.cells()), flush=True)
    return table


PROBLEMS = {
    "radon": "radon",
    "logistic": "logistic_rows",
    "school": "school",
    "eight_schools": "eight_schools",
}
HEADER = ["problem", "who", "cold, s", "warm, s", "fit, s", "ESS/s", "scales"]


def main() -> None:
    """Run, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", nargs="+", choices=list(PAIRS), default=list(PAIRS))
    parser.add_argument("--before", type=Path, help="another checkout of bayesmeta")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=300.0)
    parser.add_argument("--smoke", action="store_true", help="without NUTS; nothing is written")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder), given.core, given.timeout)
        table = collect(runner, given.problems, given.before, not given.smoke)
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in table)]
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    if not given.smoke:
        out = Path(__file__).parent / "results_first_answer.md"
        out.write_text(f"# Seconds to a first answer\n\n{__doc__.splitlines()[0]}\n\n{text}\n")
        print(f"written to {out}")


if __name__ == "__main__":
    main()
