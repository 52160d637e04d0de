"""Amortised posteriors, one core: training tasks a second against peers, and cost by size.

    python -m benchmarks.amortised --core 0        writes results_amortised.md, or into --out

Two like problems. Posteriors: three regression weights out of 20 points, by a set encoder with two
hidden layers of 64 units; bayesmeta with a normal and with a spline flow, BayesFlow (Radev et al.
2023) with a coupling flow; batches of 100 tasks. Prediction: conditional neural processes of width
128 out of 25 points to 50, against the package neuralprocesses, which embeds in the same width;
batches of 16. Each contestant runs in a process of its own. BayesFlow trains by simulations' true
parameters; bayesmeta by the ELBO, and with bm.Simulated() by the same.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm
from bayesmeta.models import neural_process, sinusoid

POSTERIOR_BATCH, PREDICTION_BATCH = 100, 16
SHORT, LONG = 50, 450


def weights(tasks: bm.Tasks) -> None:
    """Three weights a task under a known prior."""
    x = tasks.x["x"]
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(torch.zeros(3, dtype=tasks.dtype), 1.0).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal((x * w).sum(-1), 1.0), obs=tasks.y)


def simulate(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """w (tasks, 3), x (tasks, 20, 3) and y (tasks, 20)."""
    rng = np.random.default_rng(0)
    w = rng.normal(size=(count, 3)).astype("float32")
    x = rng.normal(size=(count, 20, 3)).astype("float32")
    noise = rng.normal(size=(count, 20)).astype("float32")
    return w, x, (x * w[:, None]).sum(-1) + noise


def posterior_of(
    guide: bm.FullNormal | bm.SplineFlow, bound: bm.ELBO | bm.Simulated
) -> Callable[[int], float]:
    """Seconds of so many steps of bayesmeta."""
    w, x, y = simulate(5000)
    tasks = bm.Tasks.from_arrays(y, {"x": x, "w": w[:, None]})
    phi = bm.Amortised(bm.DeepSet(), guide, bound)

    def run(steps: int) -> float:
        adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False)
        theta = bm.Point(batch_size=POSTERIOR_BATCH, adam=adam)
        began = time.perf_counter()
        bm.fit(weights, tasks, theta=theta, phi=phi, progress=False)
        return time.perf_counter() - began

    return run


def bayesflow_posterior() -> Callable[[int], float]:
    """Seconds of so many steps of BayesFlow."""
    os.environ["KERAS_BACKEND"] = "torch"
    import bayesflow as bf

    w, x, y = simulate(5000)
    widths = {f"mlp_widths_{part}": (64, 64) for part in ("equivariant", "invariant_inner")}
    approximator = bf.approximators.ContinuousApproximator(
        inference_network=bf.networks.CouplingFlow(depth=2, subnet_kwargs={"widths": (32, 32)}),
        summary_network=bf.networks.DeepSet(
            summary_dim=64,
            depth=1,
            mlp_widths_invariant_outer=(64, 64),
            mlp_widths_invariant_last=(64, 64),
            **widths,
        ),
    )
    approximator.compile(optimizer="adam")
    data = {"inference_variables": w, "summary_variables": np.concatenate([x, y[..., None]], -1)}

    def run(steps: int) -> float:
        dataset = bf.datasets.OfflineDataset(
            data={n: v[: steps * POSTERIOR_BATCH] for n, v in data.items()},
            batch_size=POSTERIOR_BATCH,
            adapter=None,
        )
        began = time.perf_counter()
        approximator.fit(dataset=dataset, epochs=1, verbose=0)
        return time.perf_counter() - began

    return lambda steps: sum(run(50) for _ in range(steps // 50))


def our_process() -> Callable[[int], float]:
    """Seconds of so many steps of a conditional neural process of ours."""
    tasks = _functions()
    phi = bm.Amortised(
        bm.DeepSet(128, width=128, layers=3), bm.Delta(), bm.Predictive(1), draws=1, width=128
    )
    model = neural_process.neural_process(latent=128, hidden=128)

    def run(steps: int) -> float:
        adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False)
        theta = bm.Point(batch_size=PREDICTION_BATCH, adam=adam)
        began = time.perf_counter()
        bm.fit(model, tasks, theta=theta, phi=phi, progress=False)
        return time.perf_counter() - began

    return run


def their_process() -> Callable[[int], float]:
    """Seconds of so many steps of the package's."""
    import neuralprocesses.torch as nps

    tasks = _functions()
    query = tasks.query
    model = nps.construct_gnp(dim_x=1, dim_y=1, dim_embedding=128, likelihood="het")

    def loss(index: torch.Tensor) -> torch.Tensor:
        x, y = tasks.x["x"][index].mT, tasks.y[index][:, None]
        return -nps.loglik(model, x, y, query.x["x"][index].mT, query.y[index][:, None]).mean()

    loss(torch.arange(2))  # makes the weights
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)

    def run(steps: int) -> float:
        began = time.perf_counter()
        for _ in range(steps):
            optimiser.zero_grad()
            loss(torch.randint(len(tasks), (PREDICTION_BATCH,))).backward()
            optimiser.step()
        return time.perf_counter() - began

    return run


def _functions() -> bm.Tasks:
    functions = neural_process.tasks(2000, 25, 50)
    whole = bm.Tasks.from_arrays(functions.y, functions.x, names=functions.names)
    return whole.with_query(functions.query)


CONTESTANTS: dict[str, tuple[str, int, Callable[[], Callable[[int], float]]]] = {
    "bayesmeta, normal": (
        "posteriors",
        POSTERIOR_BATCH,
        lambda: posterior_of(bm.FullNormal(), bm.ELBO(1)),
    ),
    "bayesmeta, spline flow": (
        "posteriors",
        POSTERIOR_BATCH,
        lambda: posterior_of(bm.SplineFlow(), bm.ELBO(1)),
    ),
    "bayesmeta, spline flow, simulated truth": (
        "posteriors",
        POSTERIOR_BATCH,
        lambda: posterior_of(bm.SplineFlow(), bm.Simulated()),
    ),
    "BayesFlow, coupling flow": ("posteriors", POSTERIOR_BATCH, bayesflow_posterior),
    "bayesmeta, conditional": ("prediction", PREDICTION_BATCH, our_process),
    "neuralprocesses, conditional": ("prediction", PREDICTION_BATCH, their_process),
}


def by_size() -> list[str]:
    """Milliseconds a step and peak memory with 10^3 to 10^7 tasks, and tasks adapted a second."""
    lines = [
        "",
        "| training tasks | ms a step | peak memory above the data, MiB |",
        "|---|---|---|",
    ]
    # The first fit of a process pays for more than its steps: it is done once unmeasured.
    for count in (1_000, 1_000, 10_000, 100_000, 1_000_000, 10_000_000):
        y = np.random.default_rng(0).normal(size=(count, 5)).astype("float32")
        tasks = bm.Tasks.from_arrays(y)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = []
        for steps in (SHORT, LONG):
            adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False)
            began = time.perf_counter()
            bm.fit(
                _mean,
                tasks,
                theta=bm.Point(batch_size=100, adam=adam),
                phi=bm.Amortised(),
                progress=False,
            )
            times.append(time.perf_counter() - began)
        step = 1e3 * (times[1] - times[0]) / (LONG - SHORT)
        above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        lines.append(f"| {count:,} | {step:.2f} | {above:.0f} |")
    del lines[3]
    waves, query = sinusoid.tasks(10_000, 20).split(10)
    adam = bm.Adam(steps=1, compile=False)
    pair = bm.ConditionalNeuralProcess(adam=adam)
    post = bm.fit(neural_process.model, waves[:50], query=query[:50], **pair, progress=False)
    post.adapt(waves)
    began = time.perf_counter()
    post.adapt(waves)
    rate = len(waves) / (time.perf_counter() - began)
    return [*lines, "", f"Adapted: {rate:,.0f} sinusoid tasks of 10 points a second."]


def _mean(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def measure(name: str) -> None:
    """Print one contestant's tasks a second, as JSON."""
    torch.set_num_threads(1)
    if name == "by size":
        print(json.dumps(by_size()))
        return
    _, batch, make = CONTESTANTS[name]
    run = make()
    run(SHORT)
    spent = run(LONG) - run(SHORT)
    print(json.dumps((LONG - SHORT) * batch / spent))


def main() -> None:
    """Every contestant in turn, then the cost by size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--contestant")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    if options.contestant:
        measure(options.contestant)
        return
    lines = [
        "# Amortised inference on one core",
        "",
        f"{', '.join(_versions())}; one process each, nothing compiled.",
        "",
        "| | | training tasks/s |",
        "|---|---|---|",
    ]
    for name in (*CONTESTANTS, "by size"):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.amortised", "--contestant", name],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {options.core}),
        )
        print(name, done.stdout[-300:], done.stderr[-300:] if done.returncode else "", flush=True)
        found = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
        if name == "by size":
            lines += found or ["", "cost by size: failed"]
        else:
            lacks = "ModuleNotFoundError" in done.stderr
            rate = f"{found:,.0f}" if found is not None else "not installed" if lacks else "failed"
            lines.append(f"| {CONTESTANTS[name][0]} | {name} | {rate} |")
    (options.out / "results_amortised.md").write_text("\n".join(lines) + "\n")


def _versions() -> Iterator[str]:
    """Of what is installed; a peer that is not is shown as failed."""
    for package in ("torch", "bayesflow", "neuralprocesses"):
        with suppress(PackageNotFoundError):
            yield f"{package} {version(package)}"


if __name__ == "__main__":
    main()
