"""Neural processes on functions of a Gaussian process: nats a point from the exact predictive.

    python -m benchmarks.functions --seconds 600      writes results_functions.md

The contestants, bayesmeta's three and those of the package neuralprocesses (Bruinsma et al. 2023),
see the same 20,000 functions and train equally long on one core, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.models import attentive_process, neural_process

SHOTS, QUERIES = 50, 50
# Of tasks, the mean log score of each one's query, (tasks,).
Score = Callable[[bm.Tasks], Tensor]


def ours(name: str, adam: bm.Adam) -> tuple[Callable[[bm.Tasks], None], bm.Pair]:
    """A model and what trains it."""
    if name == "attentive":
        return attentive_process.model, bm.AttentiveNeuralProcess(batch_size=16, adam=adam)
    wide = bm.DeepSet(128, width=128, layers=3)
    point = bm.Point(batch_size=32, adam=adam)
    model = neural_process.neural_process(latent=128, hidden=128)
    if name == "conditional":
        phi = bm.Amortised(wide, bm.Delta(), bm.Predictive(1), draws=1, width=128)
    else:
        phi = bm.Amortised(wide, bm.DiagonalNormal(), bm.Predictive(8), draws=50, width=128)
    return model, {"theta": point, "phi": phi}


def fit_ours(
    name: str, train: bm.Tasks, seconds: float
) -> tuple[Callable[[bm.Tasks], Tensor], int]:
    """Trained for as many steps as the time has room for, by the pace of the first."""

    def fit(steps: int) -> bm.Posterior:
        adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False)
        model, pair = ours(name, adam)
        return bm.fit(model, train, **pair, progress=False)

    fit(1)  # what is done once in a process is done
    times = []
    for steps in (1, 201):
        began = time.perf_counter()
        fit(steps)
        times.append(time.perf_counter() - began)
    steps = int(seconds / ((times[1] - times[0]) / 200))
    post = fit(steps)
    return lambda test: post.adapt(test).log_score(test.query).mean(1), steps


def fit_theirs(name: str, train: bm.Tasks, seconds: float) -> tuple[Score, int]:
    """The package's models at width 128, by Adam with the same decay."""
    import neuralprocesses.torch as nps

    shape = {"dim_x": 1, "dim_y": 1, "dim_embedding": 128, "likelihood": "het"}
    make = nps.construct_agnp if name == "attentive" else nps.construct_gnp
    model = make(**shape, dim_lv=128) if name == "latent" else make(**shape)
    samples = {"num_samples": 8} if name == "latent" else {}
    generator = torch.Generator().manual_seed(0)

    def loss(index: Tensor, count: int, **more: int) -> Tensor:
        part = train.select(index)
        return _log_score(nps, model, part, count, **more)

    loss(torch.arange(2), 5, **samples)  # makes the weights
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    began, steps = time.perf_counter(), 0
    while (spent := (time.perf_counter() - began) / seconds) < 1:
        share = max(0.0, (spent - 0.6) / 0.4)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * 0.5 * (1 + torch.cos(torch.tensor(share * torch.pi)).item())
        index = torch.randint(len(train), (16,), generator=generator)
        count = int(torch.randint(3, SHOTS + 1, (), generator=generator))
        optimiser.zero_grad()
        (-loss(index, count, **samples).mean()).backward()
        optimiser.step()
        steps += 1

    def score(test: bm.Tasks) -> Tensor:
        many = {"num_samples": 50} if name == "latent" else {}
        with torch.no_grad():
            found = [
                _log_score(nps, model, test[i : i + 1], int(n), **many)
                for i, n in enumerate(test.sizes)
            ]
        return torch.cat(found)

    return score, steps


def _log_score(nps: object, model: object, tasks: bm.Tasks, count: int, **samples: int) -> Tensor:
    """log p(query | the first `count` points), a point; (tasks,)."""
    x, y = tasks.x["x"].mT[..., :count], tasks.y[:, None, :count]
    query = tasks.query
    return nps.loglik(
        model, x, y, query.x["x"].mT, query.y[:, None], normalise=True, **samples
    ).flatten()


def contest(whose: str, name: str, seconds: float) -> None:
    """Print one contestant's result as JSON."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train = neural_process.tasks(20_000, SHOTS, QUERIES)
    if whose == "neuralprocesses":
        # A batch has one number of points: give it functions whose supports are whole.
        train = bm.Tasks.from_arrays(train.y, train.x, names=train.names).with_query(train.query)
    test = neural_process.tasks(1000, SHOTS, QUERIES, seed=1)
    fit = fit_ours if whose == "bayesmeta" else fit_theirs
    score, steps = fit(name, train, seconds)
    gap = neural_process.exact_log_score(test).mean(1) - score(test)
    result = {"gap": float(gap.mean()), "error": float(gap.std() / len(gap) ** 0.5), "steps": steps}
    print(json.dumps(result))


def main() -> None:
    """Every contestant in turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--contestant", nargs=2)
    out = Path(__file__).parent / "results_functions.md"
    options = parser.parse_args()
    if options.contestant:
        contest(*options.contestant, options.seconds)
        return
    exact = float(neural_process.exact_log_score(neural_process.tasks(1000, 50, 50, 1)).mean())
    lines = [
        "# Neural processes on a Gaussian process",
        "",
        f"Mean over 1,000 unseen functions of 3 to 50 points; {options.seconds:.0f} s of training "
        f"on one core, one seed; the exact predictive has {exact:.3f} nats a point. "
        f"torch {version('torch')}, neuralprocesses {version('neuralprocesses')}.",
        "",
        "| | | nats a point below the exact | steps |",
        "|---|---|---|---|",
    ]
    for whose in ("bayesmeta", "neuralprocesses"):
        for name in ("conditional", "latent", "attentive"):
            done = subprocess.run(
                [
                    *(sys.executable, "-m", "benchmarks.functions"),
                    *("--contestant", whose, name, "--seconds", str(options.seconds)),
                ],
                capture_output=True,
                text=True,
                check=False,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                preexec_fn=lambda: os.sched_setaffinity(0, {options.core}),
            )
            print(whose, name, done.stdout, done.stderr[-500:], flush=True)
            r = json.loads(done.stdout) if done.returncode == 0 else None
            cells = f"{r['gap']:.3f} +- {r['error']:.3f} | {r['steps']}" if r else "failed |"
            lines.append(f"| {whose} | {name} | {cells} |")
            out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
