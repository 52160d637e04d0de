"""TorchOpt (Ren et al. 2023): its functional optimiser in the inner loop, under torch's vmap."""

from __future__ import annotations

import torch
import torchopt
from torch.func import functional_call, grad, vmap

from benchmarks.meta.problem import OUTER_LR, Problem
from benchmarks.meta.serve import Step, serve


def make(problem: Problem) -> Step:
    """As in TorchOpt's functorch MAML example."""
    network = problem.network()
    theta = {name: p.detach().clone() for name, p in network.named_parameters()}
    adam = torch.optim.Adam(list(theta.values()), OUTER_LR)
    inner = torchopt.sgd(problem.lr)

    def loss(phi: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return problem.loss(functional_call(network, phi, (x,)), y)

    def outer(shared: dict[str, torch.Tensor], *task: torch.Tensor) -> torch.Tensor:
        x, y, query_x, query_y = task
        phi, state = shared, inner.init(shared)
        for _ in range(problem.steps):
            updates, state = inner.update(grad(loss)(phi, x, y), state, inplace=False)
            phi = torchopt.apply_updates(phi, updates, inplace=False)
        return loss(phi, query_x, query_y)

    data = problem.x, problem.y, problem.query_x, problem.query_y
    batched = vmap(outer, in_dims=(None, 0, 0, 0, 0))

    def step() -> float:
        value = batched({n: p.requires_grad_() for n, p in theta.items()}, *data).mean()
        adam.zero_grad()
        value.backward()
        adam.step()
        return float(value)

    return step


if __name__ == "__main__":
    serve(make)
