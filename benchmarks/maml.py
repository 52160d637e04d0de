"""Second-order MAML, one core: bayesmeta's meta-steps against those of its peers.

python -m benchmarks.maml             the whole comparison; writes results_maml.md
python -m benchmarks.maml --only bayesmeta JAX --problems "sinusoids, 5 steps"
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.meta.problem import PROBLEMS

ROOT = Path(__file__).parents[1]
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Peer:
    """A contestant: its module in benchmarks.meta, and the package that it is about."""

    name: str
    module: str
    package: str


PEERS = (
    Peer("bayesmeta", "bayesmeta_fit", "bayesmeta"),
    Peer("torch, a loop over tasks", "torch_loop", "torch"),
    Peer("learn2learn", "learn2learn_loop", "learn2learn"),
    Peer("higher", "higher_loop", "higher"),
    Peer("TorchOpt under vmap", "torchopt_vmap", "torchopt"),
    Peer("JAX", "jax_vmap", "jax"),
)


@dataclass(frozen=True)
class Outcome:
    """Losses of the first steps, seconds a step and until the first, MiB; or why there are none."""

    losses: tuple[float, ...] = ()
    step: float = 0.0
    ready: float = 0.0
    mib: float = 0.0
    failure: str = ""


def run(peer: Peer, problem: str, core: int, timeout: float) -> Outcome:
    """One peer on one problem in a process of its own, pinned to one core."""
    if importlib.util.find_spec(peer.package) is None:
        return Outcome(failure="not installed")
    one = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    xla = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", f"benchmarks.meta.{peer.module}", problem],
            cwd=ROOT,
            env={**os.environ, **one, "XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            capture_output=True,
            text=True,
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return Outcome(failure=f"more than {timeout:.0f} s")
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return Outcome(failure=(done.stderr.strip().splitlines() or ["failed"])[-1][:100])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return Outcome(tuple(found["losses"]), found["step"], found["ready"], found["mib"])


def table(problem: str, outcomes: dict[str, Outcome]) -> list[str]:
    """The Markdown lines of one problem; a peer whose losses differ from the loop's is marked."""
    tasks = len(PROBLEMS[problem]().x)
    oracle = outcomes.get("torch, a loop over tasks", Outcome())
    lines = [
        f"## {problem}",
        "",
        "| | ms a meta-step | tasks/s | ready after, s | peak memory, MiB | first losses |",
        "|---|---|---|---|---|---|",
    ]
    for name, o in outcomes.items():
        if o.failure:
            lines.append(f"| {name} | {o.failure} | | | | |")
            continue
        same = all(
            abs(a - b) <= _TOLERANCE * abs(b) for a, b in zip(o.losses, oracle.losses, strict=False)
        )
        losses = ", ".join(f"{loss:.4f}" for loss in o.losses) + ("" if same else " DIFFERS")
        lines.append(
            f"| {name} | {1e3 * o.step:.4g} | {tasks / o.step:.4g} | {o.ready:.1f} "
            f"| {o.mib:.0f} | {losses} |"
        )
    return [*lines, ""]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[peer.name for peer in PEERS])
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=600.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results_maml.md")
    options = parser.parse_args()
    chosen = [peer for peer in PEERS if peer.name in options.only]
    versions = [
        f"{p.package} {version(p.package)}" for p in chosen if importlib.util.find_spec(p.package)
    ]
    lines = [
        "# Second-order MAML on one core",
        "",
        f"One meta-step: the meta-gradient of all tasks and a step of Adam. {platform.machine()}, "
        f"Python {platform.python_version()}, {', '.join(versions)}.",
        "",
    ]
    for problem in options.problems:
        outcomes = {}
        for peer in chosen:
            outcomes[peer.name] = run(peer, problem, options.core, options.timeout)
            print(problem, peer.name, outcomes[peer.name], flush=True)
        lines += table(problem, outcomes)
    options.out.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
