"""Logistic regression: a weight vector per task, drawn from a shared diagonal normal.

mu_k ~ N(0, 2),  tau_k ~ HalfNormal(1)
w_i ~ N(mu, diag(tau^2)),  y_ij ~ Bernoulli(1 / (1 + exp(-x_ij . w_i)))
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
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(mu, tau).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=(features * w).sum(-1)), obs=tasks.y)


def truth(num_tasks: int = 200, num_features: int = 5, seed: int = 0) -> dict[str, Tensor]:
    """One draw from the prior: mu and tau of shape (features,), w (tasks, features).

    mu and tau do not depend on `num_tasks`.
    """
    rng = np.random.default_rng([seed, 0])
    mu = rng.normal(0.0, 2.0, num_features)
    tau = np.abs(rng.normal(0.0, 1.0, num_features))
    w = rng.normal(mu, tau, (num_tasks, num_features))
    return {site: torch.from_numpy(value) for site, value in {"mu": mu, "tau": tau, "w": w}.items()}


def tasks(
    num_tasks: int = 200, num_data: int = 20, num_features: int = 5, seed: int = 0
) -> bm.Tasks:
    """Data simulated from `truth`: y (tasks, data) and x["features"] (tasks, data, features)."""
    w = truth(num_tasks, num_features, seed)["w"].numpy()
    rng = np.random.default_rng([seed, 1])
    features = rng.normal(size=(num_tasks, num_data, num_features))
    probability = 1.0 / (1.0 + np.exp(-(features * w[:, None]).sum(-1)))
    y = (rng.random((num_tasks, num_data)) < probability).astype(np.float64)
    return bm.Tasks.from_arrays(y, x={"features": features})
