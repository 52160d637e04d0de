"""bayesmeta: `fit` itself; a longer fit less a shorter one, so that only steps are counted."""

from __future__ import annotations

import math
import sys
import time

import torch

import bayesmeta as bm
from bayesmeta.models import few_shot_classifier, sinusoid
from benchmarks.meta.problem import OUTER_LR, PROBLEMS, Problem
from benchmarks.meta.serve import peak, report

_SHORT = 30
_SECONDS = 20.0


def fit(problem: Problem, steps: int) -> tuple[bm.Posterior, float]:
    """Train for so many steps on all tasks at once; the posterior, and seconds.

    The library's steps climb log likelihoods, sums over data where the problem has means.
    """
    column = "image" if problem.classes else "x"
    support = bm.Tasks.from_arrays(problem.y.float(), x={column: problem.x})
    query = bm.Tasks.from_arrays(problem.query_y.float(), x={column: problem.query_x})
    model = few_shot_classifier.classifier(problem.classes) if problem.classes else sinusoid.model
    lr = problem.lr / problem.y.shape[1] * (1 if problem.classes else 2)
    adam = bm.Adam(lr=OUTER_LR, steps=steps, decay=0.0, patience=0, compile=True)
    pair = bm.MAML(problem.steps, lr, adam=adam)
    began = time.perf_counter()
    post = bm.fit(model, support, query=query, progress=False, **pair)
    return post, time.perf_counter() - began


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
    post, ready = fit(problem, _SHORT)
    _, short = fit(problem, _SHORT)
    _, longer = fit(problem, _SHORT + 10)
    count = max(10, min(5000, round(_SECONDS / max(1e-3, (longer - short) / 10))))
    _, long = fit(problem, _SHORT + count)
    losses = [mean_loss(problem, float(loss)) for loss in post.losses[:3]]
    report(losses, ready, [(long - short) / count], peak() - before)


if __name__ == "__main__":
    main()
