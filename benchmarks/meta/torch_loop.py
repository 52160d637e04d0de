"""A plain loop over tasks in torch, the weights given to the network by functional_call."""

from __future__ import annotations

import torch
from torch.func import functional_call

from benchmarks.meta.problem import OUTER_LR, Problem
from benchmarks.meta.serve import Step, serve, task_by_task


def make(problem: Problem) -> Step:
    """Inner steps as new dictionaries of weights."""
    network = problem.network()
    theta = dict(network.named_parameters())

    def query_loss(i: int) -> torch.Tensor:
        phi = theta
        for _ in range(problem.steps):
            loss = problem.loss(functional_call(network, phi, problem.x[i]), problem.y[i])
            slopes = torch.autograd.grad(loss, list(phi.values()), create_graph=True)
            phi = {n: p - problem.lr * g for (n, p), g in zip(phi.items(), slopes, strict=True)}
        return problem.loss(functional_call(network, phi, problem.query_x[i]), problem.query_y[i])

    adam = torch.optim.Adam(network.parameters(), OUTER_LR)
    return task_by_task(problem, adam, query_loss)


if __name__ == "__main__":
    serve(make)
