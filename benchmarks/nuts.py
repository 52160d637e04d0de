"""Minimum effective samples per second of NUTS, one core: bayesmeta against its peers.

python -m benchmarks.nuts             the whole comparison, about an hour; writes results.md, .json
python -m benchmarks.nuts --smoke     a few steps of everything, to see that it runs
python -m benchmarks.nuts --only bayesmeta NumPyro --problems radon
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import problems
from benchmarks.contest import Budget, Result, arguments, received
from benchmarks.problems import Problem
from benchmarks.report import Row, write
from benchmarks.score import Score, gap, pooled, score

ROOT = Path(__file__).parents[1]
FULL = Budget(chains=4, tune=1000, draws=1000, seed=0)
SMOKE = Budget(chains=1, tune=30, draws=30, seed=0)


@dataclass(frozen=True)
class Contestant:
    """A peer: the module that runs it, what that must be able to import, and its budgets."""

    name: str
    module: str
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    budgets: Mapping[str, Budget] = field(default_factory=dict)

    def missing(self) -> str | None:
        """The first import that is not installed."""
        return next((i for i in self.imports if importlib.util.find_spec(i) is None), None)


# Pyro is slow and gets fewer draws: samples per second are a rate.
PYRO_BUDGETS = {
    "eight_schools": Budget(chains=2, tune=500, draws=500, seed=0),
    "radon": Budget(chains=1, tune=300, draws=300, seed=0),
    "logistic": Budget(chains=1, tune=200, draws=200, seed=0),
}
CONTESTANTS = (
    Contestant(
        "bayesmeta", "bayesmeta_nuts", ("bayesmeta",), ("bayesmeta", "torch", "pyro-ppl", "nutpie")
    ),
    Contestant("nutpie + PyMC", "pymc_nutpie", ("nutpie", "pymc"), ("pymc", "pytensor", "numba")),
    Contestant("Stan (pystan)", "pystan_nuts", ("stan",), ("pystan", "httpstan")),
    Contestant("NumPyro", "numpyro_nuts", ("numpyro",), ("numpyro", "jax", "jaxlib")),
    Contestant("Pyro NUTS, jit", "pyro_nuts", ("pyro",), (), PYRO_BUDGETS),
)


@dataclass(frozen=True)
class Run:
    """One process: its result and the share of its core it got, or why there is none."""

    result: Result | None = None
    core_share: float = 0.0
    failure: str = ""


def environment(cache: Path) -> dict[str, str]:
    """One thread, and caches of this benchmark's own, so that first compilations are first."""
    threads = ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON")
    return {
        **os.environ,
        **{f"{name}_NUM_THREADS": "1" for name in threads},
        "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
        "JAX_PLATFORMS": "cpu",
        "XDG_CACHE_HOME": str(cache),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TORCH_EXTENSIONS_DIR": str(cache / "extensions"),
        "PYTENSOR_FLAGS": f"base_compiledir={cache / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "PYTHONWARNINGS": "ignore",
    }


def run(contestant: Contestant, problem: Path, budget: Budget, options: Options) -> Run:
    """Run one contestant once, in a process of its own on one core."""
    with tempfile.TemporaryDirectory() as folder:
        module = f"benchmarks.peers.{contestant.module}"
        command = [sys.executable, "-m", module, *arguments(problem, Path(folder), budget)]
        start, used = time.perf_counter(), _child_seconds()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(problem.parent / "cache"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=options.pin,
        )
        try:
            _, errors = process.communicate(timeout=options.timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return Run(failure=f"failed: more than {options.timeout:.0f} s")
        if process.returncode:
            lines = errors.strip().splitlines() or [f"exit status {process.returncode}"]
            return Run(failure=f"failed: {lines[-1][:120]}")
        share = (_child_seconds() - used) / (time.perf_counter() - start)
        return Run(received(Path(folder)), share)
