"""learn2learn (Arnold et al. 2020): its MAML wrapper, task by task."""

from __future__ import annotations

import learn2learn
import torch

from benchmarks.meta.problem import OUTER_LR, Problem
from benchmarks.meta.serve import Step, serve


def make(problem: Problem) -> Step:
    """As in learn2learn's own examples: each task backwards as soon as it is done."""
    maml = learn2learn.algorithms.MAML(problem.network(), lr=problem.lr, first_order=False)
    adam = torch.optim.Adam(maml.parameters(), OUTER_LR)

    def step() -> float:
        adam.zero_grad()
        total = 0.0
        for i in range(len(problem.x)):
            phi = maml.clone()
            for _ in range(problem.steps):
                phi.adapt(problem.loss(phi(problem.x[i]), problem.y[i]))
            loss = problem.loss(phi(problem.query_x[i]), problem.query_y[i]) / len(problem.x)
            loss.backward()
            total += float(loss)
        adam.step()
        return total

    return step


if __name__ == "__main__":
    serve(make)
