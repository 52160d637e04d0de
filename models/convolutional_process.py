"""convolutional_process: functions by a decoder that reads, at each x, maps of the function's own.

    z_i ~ N(0, I), maps on a grid,   y_ij ~ N(mean(z_i(x_ij); theta), sd(z_i(x_ij); theta)^2)

with z_i(x) the maps at x, linear between nodes. With phi=bm.Amortised(bm.Convolutional(...)) an
encoder fills the maps: a convolutional conditional neural process (Gordon et al. 2020), for which a
function that is moved is the same function.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch.nn.functional import softplus

import bayesmeta as bm
from bayesmeta.models.neural_process import LEAST_SD, exact_log_score, tasks

__all__ = ["convolutional_process", "exact_log_score", "model", "tasks"]


def convolutional_process(
    inputs: int = 1,
    grid: int = 64,
    maps: int = 8,
    reach: float = 2.0,
    hidden: int = 64,
    seed: int = 0,
) -> Callable[[bm.Tasks], None]:
    """The model for x["x"] of shape (tasks, data, inputs) and y of shape (tasks, data).

    Args:
        inputs: 1 or 2.
        grid: nodes along each input.
        maps: numbers at each node.
        reach: the outermost nodes of each input; beyond, nothing is known.
        hidden: units of the decoder.
        seed: of the decoder's start.
    """
    decode = bm.nets.perceptron(maps, hidden, hidden, 2, seed=seed)
    path = "tju,tmu->tjm" if inputs == 1 else "tju,tjv,tmuv->tjm"
    size = maps * grid**inputs

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: decode.weights().to(tasks.dtype))
        near = [bm.nets.nearness(x, grid, reach) for x in tasks.x["x"].unbind(-1)]
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            z = pyro.sample("z", dist.Normal(torch.zeros(size, dtype=tasks.dtype), 1.0).to_event(1))
            z = z.view(-1, maps, *[grid] * inputs)
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean, spread = decode(theta, torch.einsum(path, *near, z)).unbind(-1)
                pyro.sample("y", dist.Normal(mean, LEAST_SD + softplus(spread)), obs=tasks.y)

    return model


model = convolutional_process()
