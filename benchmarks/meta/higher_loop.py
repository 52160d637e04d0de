"""higher (Grefenstette et al. 2019): its differentiable copies and optimiser, task by task."""

from __future__ import annotations

import higher
import torch

from benchmarks.meta.problem import OUTER_LR, Problem
from benchmarks.meta.serve import Step, serve, task_by_task


def make(problem: Problem) -> Step:
    """As in higher's own MAML example."""
    network = problem.network()
    inner = torch.optim.SGD(network.parameters(), problem.lr)

    def query_loss(i: int) -> torch.Tensor:
        context = higher.innerloop_ctx(network, inner, copy_initial_weights=False)
        with context as (phi, differentiable):
            for _ in range(problem.steps):
                differentiable.step(problem.loss(phi(problem.x[i]), problem.y[i]))
            return problem.loss(phi(problem.query_x[i]), problem.query_y[i])

    adam = torch.optim.Adam(network.parameters(), OUTER_LR)
    return task_by_task(problem, adam, query_loss)


if __name__ == "__main__":
    serve(make)
