"""What passes between the benchmark and a contestant's process: a budget in, a result out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.problems import Arrays, Problem, scored


@dataclass(frozen=True)
class Budget:
    """How much to sample: chains of `tune` + `draws` steps."""

    chains: int
    tune: int
    draws: int
    seed: int


@dataclass(frozen=True)
class Result:
    """What a contestant gives back: draws (chain, draw, ...) and what they cost.

    `sample_s` is wall time from a compiled model to draws, tuning included; `compile_s` is all that
    comes before it.
    """

    draws: Arrays
    compile_s: float
    sample_s: float
    divergences: int


Sampler = Callable[[Problem, Budget], Result]


def serve(sample: Sampler) -> None:
    """Run as a contestant's process: python -m MODULE problem.npz out budget-as-json."""
    problem, out = Problem.load(Path(sys.argv[1])), Path(sys.argv[2])
    result = sample(problem, Budget(**json.loads(sys.argv[3])))
    np.savez(out / "draws.npz", **scored(problem.name, result.draws))  # type: ignore[arg-type]
    costs = {name: getattr(result, name) for name in ("compile_s", "sample_s", "divergences")}
    (out / "costs.json").write_text(json.dumps(costs))


def arguments(problem: Path, out: Path, budget: Budget) -> list[str]:
    """The command line that `serve` reads."""
    return [str(problem), str(out), json.dumps(asdict(budget))]


def received(out: Path) -> Result:
    """Read what `serve` wrote."""
    with np.load(out / "draws.npz") as draws:
        return Result(draws=dict(draws), **json.loads((out / "costs.json").read_text()))
