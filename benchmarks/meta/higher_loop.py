"""higher (Grefenstette et al. 2019): its differentiable copies and optimiser, task by task."""

from __future__ import annotations

import higher
import torch

from benchmarks.meta.problem import OUTER_LR, Problem
from benchmarks.meta.serve import Step, serve


def make(problem: Problem) -> Step:
    """As in higher's own MAML example: each task backwards as soon as it is done."""
    network = problem.network()
    adam = torch.optim.Adam(network.parameters(), OUTER_LR)
    inner = torch.optim.SGD(network.parameters(), problem.lr)

    def step() -> float:
        adam.zero_grad()
        total = 0.0
        for i in range(len(problem.x)):
            context = higher.innerloop_ctx(network, inner, copy_initial_weights=False)
            with context as (phi, differentiable):
                for _ in range(problem.steps):
                    differentiable.step(problem.loss(phi(problem.x[i]), problem.y[i]))
                loss = problem.loss(phi(problem.query_x[i]), problem.query_y[i]) / len(problem.x)
                loss.backward()
            total += float(loss)
        adam.step()
        return total

    return step


if __name__ == "__main__":
    serve(make)
