"""last_layer: Bayesian linear regression on learned features, as in ALPaCA.

A network of shared weights (theta) makes features z_ij of x_ij; each task has a linear layer of its
own on them (phi), with a prior that is learned too:

    w_i ~ N(mean, scale^2),   y_ij ~ N(w_i . (z_ij, 1), sigma^2)

Given theta it is linear-Gaussian, so that phi=bm.Exact() integrates the layer out in closed form
(Harrison, Sharma & Pavone 2018).
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import bayesmeta as bm

from . import sinusoid

_POSITIVE = dist.constraints.positive


def last_layer(
    inputs: int = 1, hidden: int = 40, features: int = 4, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model for x["x"] of shape (tasks, data, inputs) and y of shape (tasks, data).

    Few features are best: one that the tasks do not need leaves a direction of w open, in which
    predictions from few points go astray.
    """
    with bm.nets.isolated(seed):
        layers = [nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()]
        embed = bm.nets.Net(nn.Sequential(*layers, nn.Linear(hidden, features)))
    return of(embed, features, lambda tasks: tasks.x["x"])


def of(
    embed: bm.nets.Net, features: int, inputs: Callable[[bm.Tasks], Tensor]
) -> Callable[[bm.Tasks], None]:
    """The model for any features.

    Args:
        embed: makes the features of each datapoint.
        features: how many.
        inputs: what of the tasks is given to it, (tasks, data, ...).
    """
    size = features + 1

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: embed.weights().to(tasks.dtype))
        mean = pyro.param("mean", torch.zeros(size, dtype=tasks.dtype))
        scale = pyro.param("scale", torch.ones(size, dtype=tasks.dtype), constraint=_POSITIVE)
        sigma = pyro.param("sigma", torch.tensor(0.5, dtype=tasks.dtype), constraint=_POSITIVE)
        z = embed(theta, inputs(tasks))
        z = torch.cat([z, torch.ones_like(z[..., :1])], -1)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            w = pyro.sample("w", dist.Normal(mean, scale).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal((w * z).sum(-1), sigma), obs=tasks.y)

    return model


model = last_layer()
tasks = sinusoid.tasks
