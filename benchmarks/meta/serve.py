"""Times one peer in its own process, and prints what it measured as one line of JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable

import torch

from benchmarks.meta.problem import PROBLEMS, Problem

Step = Callable[[], float]
_SECONDS = 20.0
_CHECKED = 3


def serve(make: Callable[[Problem], Step]) -> None:
    """Make the peer's step, take some for their losses and for warmth, then time as many as fit."""
    torch.set_num_threads(1)
    problem = PROBLEMS[sys.argv[1]]()
    before, began = peak(), time.perf_counter()
    step = make(problem)
    losses = [step() for _ in range(_CHECKED)]
    ready = time.perf_counter()
    times: list[float] = []
    while sum(times) < _SECONDS and (len(times) < 2000 or sum(times) < 2):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    report(losses, ready - began, times, peak() - before)


def task_by_task(
    problem: Problem, adam: torch.optim.Optimizer, query_loss: Callable[[int], torch.Tensor]
) -> Step:
    """A meta-step that goes backwards after each task, as the peers' own examples do."""

    def step() -> float:
        adam.zero_grad()
        total = 0.0
        for i in range(len(problem.x)):
            loss = query_loss(i) / len(problem.x)
            loss.backward()
            total += float(loss)
        adam.step()
        return total

    return step


def report(losses: list[float], ready: float, times: list[float], mib: float) -> None:
    """Print the result: losses of the first steps, seconds until ready, and each step's time."""
    median = sorted(times)[len(times) // 2]
    print(json.dumps({"losses": losses, "ready": ready, "step": median, "mib": mib}))


def peak() -> float:
    """The most memory that this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
