"""bayesmeta: `fit` itself, interrupted once enough of its steps are timed."""

from __future__ import annotations

import math
import sys
import time
from itertools import pairwise

import torch

import bayesmeta as bm
from bayesmeta.models import few_shot_classifier, sinusoid
from bayesmeta.training.optimiser import Optimiser
from benchmarks.meta.problem import OUTER_LR, PROBLEMS, Problem
from benchmarks.meta.serve import peak, report

# Steps before which the library compiles, and some more.
_WARM_UP = 30
_SECONDS = 20.0


def fit(problem: Problem) -> tuple[bm.Posterior, list[float]]:
    """Train on all tasks at once, until enough steps are timed; the posterior, and their ends.

    The library's steps climb log likelihoods, sums over data where the problem has means.
    """
    column = "image" if problem.classes else "x"
    support = bm.Tasks.from_arrays(problem.y.float(), x={column: problem.x})
    query = bm.Tasks.from_arrays(problem.query_y.float(), x={column: problem.query_x})
    model = few_shot_classifier.classifier(problem.classes) if problem.classes else sinusoid.model
    lr = problem.lr / problem.y.shape[1] * (1 if problem.classes else 2)
    adam = bm.Adam(lr=OUTER_LR, steps=100_000, decay=0.0, patience=0, compile=True)
    ends = [time.perf_counter()]
    whole_step = Optimiser.step

    def timed(self: Optimiser, *given: object) -> None:
        whole_step(self, *given)  # type: ignore[arg-type]
        ends.append(time.perf_counter())
        if len(ends) > _WARM_UP + 10 and ends[-1] - ends[_WARM_UP] > _SECONDS:
            # As Ctrl-C: training ends and keeps what it has.
            raise KeyboardInterrupt

    Optimiser.step = timed  # type: ignore[method-assign]
    pair = bm.MAML(problem.steps, lr, adam=adam)
    return bm.fit(model, support, query=query, progress=False, **pair), ends


def mean_loss(problem: Problem, loss: float) -> float:
    """A mean loss a datapoint out of minus the log likelihood of a task's query."""
    count = problem.query_y.shape[1]
    if problem.classes:
        return loss / count
    return 2 * (loss / count - 0.5 * math.log(2 * math.pi))


def main() -> None:
    """As `serve`, for a peer whose steps are inside its own loop."""
    torch.set_num_threads(1)
    problem = PROBLEMS[sys.argv[1]]()
    before = peak()
    post, ends = fit(problem)
    losses = [mean_loss(problem, float(loss)) for loss in post.losses[:3]]
    steps = [b - a for a, b in pairwise(ends[_WARM_UP:])]
    report(losses, ends[_WARM_UP] - ends[0], steps, peak() - before)


if __name__ == "__main__":
    main()
