"""pooling: radon by county in four ways, from one line for all to one each.

    complete:  y_ij ~ N(alpha + beta floor_ij, sigma)             one alpha and beta: all are theta
    none:      alpha_i ~ N(0, WIDE), beta_i ~ N(0, WIDE)          each county alone: all are phi
    partial:   alpha_i ~ N(mu_alpha, tau_alpha), beta_i ~ N(mu_beta, tau_beta)
    shared:    y_ij ~ N(w_i . (z_ij, 1), sigma), z_ij features of (floor, uranium) by one network

Gelman & Hill (2007), chapter 12; shared features as in Caruana (1997), each county with a layer of
its own on what all have learned together. models.radon adds the county's uranium to partial.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import bayesmeta as bm

from . import last_layer, radon

WIDE = 10.0
FEATURES = 3
with bm.nets.isolated(seed=0):
    EMBED = bm.nets.Net(
        nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, FEATURES), nn.Tanh())
    )


def complete(tasks: bm.Tasks) -> None:
    """One line for all counties."""
    alpha = pyro.sample("alpha", dist.Normal(0.0, 2.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 2.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def none(tasks: bm.Tasks) -> None:
    """A line a county, which learns nothing from the others: only the noise is of a size."""
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    zero = torch.zeros((), dtype=tasks.dtype)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        alpha = pyro.sample("alpha", dist.Normal(zero, WIDE))
        beta = pyro.sample("beta", dist.Normal(zero, WIDE))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def partial(tasks: bm.Tasks) -> None:
    """A line a county, around one for all by as much as counties differ."""
    mu_alpha = pyro.sample("mu_alpha", dist.Normal(0.0, 2.0))
    mu_beta = pyro.sample("mu_beta", dist.Normal(0.0, 2.0))
    tau_alpha = pyro.sample("tau_alpha", dist.HalfNormal(1.0))
    tau_beta = pyro.sample("tau_beta", dist.HalfNormal(1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        alpha = pyro.sample("alpha", dist.Normal(mu_alpha, tau_alpha))
        beta = pyro.sample("beta", dist.Normal(mu_beta, tau_beta))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def _floor_and_uranium(tasks: bm.Tasks) -> Tensor:
    floor = tasks.x["floor"]
    return torch.stack([floor, tasks.x["log_uranium"].expand_as(floor)], -1)


shared = last_layer.of(EMBED, FEATURES, _floor_and_uranium)
model, tasks = partial, radon.tasks
