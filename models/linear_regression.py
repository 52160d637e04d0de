"""Linear regression: a weight vector per task, drawn from a shared diagonal normal.

mu_k ~ N(0, 2),  tau_k ~ HalfNormal(1),  sigma ~ HalfNormal(1)
w_i ~ N(mu, diag(tau^2)),  y_ij ~ N(x_ij . w_i, sigma)
"""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import bayesmeta as bm


def model(tasks: bm.Tasks) -> None:
    """Weights per task, the weights drawn from one normal whose mean and scale are latent."""
    features = tasks.x["features"]
    num_features = features.shape[-1]
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0).expand([num_features]).to_event(1))
    tau = pyro.sample("tau", dist.HalfNormal(1.0).expand([num_features]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(mu, tau).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal((features * w).sum(-1), sigma), obs=tasks.y)


def truth(num_tasks: int = 50, num_features: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """One draw from the prior: mu and tau of shape (features,), sigma (), w (tasks, features).

    mu, tau and sigma do not depend on `num_tasks`.
    """
    rng = np.random.default_rng([seed, 0])
    mu = rng.normal(0.0, 2.0, num_features)
    tau = np.abs(rng.normal(0.0, 1.0, num_features))
    sigma = np.abs(rng.normal(0.0, 1.0, ()))
    w = rng.normal(mu, tau, (num_tasks, num_features))
    draws = {"mu": mu, "tau": tau, "sigma": sigma, "w": w}
    return {site: torch.as_tensor(value, dtype=torch.float64) for site, value in draws.items()}


def tasks(
    num_tasks: int = 50, num_data: int = 10, num_features: int = 5, seed: int = 0
) -> bm.Tasks:
    """Data simulated from `truth`: y (tasks, data) and x["features"] (tasks, data, features)."""
    known = truth(num_tasks, num_features, seed)
    rng = np.random.default_rng([seed, 1])
    features = rng.normal(size=(num_tasks, num_data, num_features))
    location = (features * known["w"].numpy()[:, None]).sum(-1)
    y = rng.normal(location, known["sigma"].numpy())
    return bm.Tasks.from_arrays(y, x={"features": features})
