"""What passes between the benchmark and a contestant's process: a budget in, a result out."""

from __future__ import annotations

import json
import os
import sys
import time
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
class Seconds:
    """Wall time and processor time, of this process and of its finished children."""

    wall: float
    cpu: float

    def __sub__(self, earlier: Seconds) -> Seconds:
        return Seconds(self.wall - earlier.wall, self.cpu - earlier.cpu)


def now() -> Seconds:
    """Read both clocks; only differences mean something."""
    times = os.times()
    return Seconds(time.perf_counter(), sum(times[:4]))


@dataclass(frozen=True)
class Result:
    """What a contestant gives back: draws (chain, draw, ...) and what they cost.

    `sampling` is from a compiled model to draws, tuning included; `compiling` is all before it.
    """

    draws: Arrays
    compiling: Seconds
    sampling: Seconds
    divergences: int


Sampler = Callable[[Problem, Budget], Result]


def serve(sample: Sampler) -> None:
    """Run as a contestant's process: python -m MODULE problem.npz out budget-as-json."""
    problem, out = Problem.load(Path(sys.argv[1])), Path(sys.argv[2])
    result = sample(problem, Budget(**json.loads(sys.argv[3])))
    np.savez(out / "draws.npz", **scored(problem.name, result.draws))  # type: ignore[arg-type]
    costs = [asdict(result.compiling), asdict(result.sampling), result.divergences]
    (out / "costs.json").write_text(json.dumps(costs))


def arguments(problem: Path, out: Path, budget: Budget) -> list[str]:
    """The command line that `serve` reads."""
    return [str(problem), str(out), json.dumps(asdict(budget))]


def received(out: Path) -> Result:
    """Read what `serve` wrote."""
    compiling, sampling, divergences = json.loads((out / "costs.json").read_text())
    with np.load(out / "draws.npz") as draws:
        return Result(dict(draws), Seconds(**compiling), Seconds(**sampling), divergences)
