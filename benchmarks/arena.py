"""Runs one contestant once: a process of its own, one core, one thread, caches of the benchmark."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.contest import Budget, Result, arguments, received

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Contestant:
    """A sampler: the module that runs it, what that imports, and budgets other than the usual."""

    name: str
    module: str
    imports: tuple[str, ...]
    packages: tuple[str, ...]
    budgets: Mapping[str, Budget] = field(default_factory=dict)

    def missing(self) -> str | None:
        """The first import that is not installed."""
        return next((i for i in self.imports if importlib.util.find_spec(i) is None), None)


@dataclass(frozen=True)
class Run:
    """A result, or why there is none."""

    result: Result | None = None
    failure: str = ""


@dataclass(frozen=True)
class Arena:
    """Where the contestants run: which core, for how long at most, and with which caches."""

    core: int
    timeout_s: float
    cache: Path

    def run(self, contestant: Contestant, problem: Path, budget: Budget) -> Run:
        """Run to the end, to failure or to the time limit."""
        missing = contestant.missing()
        if missing is not None:
            return Run(failure=f"not installed: {missing}")
        with tempfile.TemporaryDirectory() as folder:
            module = f"benchmarks.peers.{contestant.module}"
            command = [sys.executable, "-m", module, *arguments(problem, Path(folder), budget)]
            failure = self._finish(command)
            return Run(failure=failure) if failure else Run(received(Path(folder)))

    def _finish(self, command: list[str]) -> str:
        """Wait for the process and say how it failed, if it did."""
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=self.pin,
        )
        try:
            _, errors = process.communicate(timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            # The whole group: some samplers start workers.
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"failed: more than {self.timeout_s:.0f} s"
        if process.returncode == 0:
            return ""
        print(errors, file=sys.stderr)
        last = (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        return f"failed: {last[:120]}"

    def pin(self) -> None:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {self.core})

    def environment(self) -> dict[str, str]:
        threads = ("OMP", "MKL", "OPENBLAS", "NUMBA", "RAYON")
        return {
            **os.environ,
            **{f"{name}_NUM_THREADS": "1" for name in threads},
            "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
            "JAX_PLATFORMS": "cpu",
            "XDG_CACHE_HOME": str(self.cache),
            "BAYESMETA_CACHE": str(self.cache / "bayesmeta"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.cache / "inductor"),
            "TORCH_EXTENSIONS_DIR": str(self.cache / "extensions"),
            "PYTENSOR_FLAGS": f"base_compiledir={self.cache / 'pytensor'}",
            "PYTHONWARNINGS": "ignore",
        }
