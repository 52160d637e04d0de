"""learn2learn (Arnold et al. 2020): its MAML wrapper, task by task."""

from __future__ import annotations

import learn2learn
import torch

from benchmarks.meta.problem import OUTER_LR, Problem
from benchmarks.meta.serve import Step, serve, task_by_task


def make(problem: Problem) -> Step:
    """As in learn2learn's own examples."""
    maml = learn2learn.algorithms.MAML(problem.network(), lr=problem.lr, first_order=False)

    def query_loss(i: int) -> torch.Tensor:
        phi = maml.clone()
        for _ in range(problem.steps):
            phi.adapt(problem.loss(phi(problem.x[i]), problem.y[i]))
        return problem.loss(phi(problem.query_x[i]), problem.query_y[i])

    adam = torch.optim.Adam(maml.parameters(), OUTER_LR)
    return task_by_task(problem, adam, query_loss)


if __name__ == "__main__":
    serve(make)
