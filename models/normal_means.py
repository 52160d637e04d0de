"""Normal means: the jointly Gaussian model whose posterior is known in closed form.

mu ~ N(0, MU_SD),  phi_i ~ N(mu, TAU),  y_ij ~ N(phi_i, SIGMA)  with all three sds known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import bayesmeta as bm

MU_SD = 5.0
TAU = 2.0
SIGMA = 1.0


def model(tasks: bm.Tasks) -> None:
    """A mean per task, the means drawn from one normal."""
    mu = pyro.sample("mu", dist.Normal(0.0, MU_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, TAU))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, SIGMA), obs=tasks.y)


def truth(num_tasks: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """One draw from the prior: mu of shape () and phi of shape (tasks,)."""
    rng = np.random.default_rng([seed, 0])
    mu = rng.normal(0.0, MU_SD)
    phi = rng.normal(mu, TAU, num_tasks)
    return {"mu": torch.tensor(mu, dtype=torch.float64), "phi": torch.from_numpy(phi)}


def tasks(num_tasks: int = 8, num_data: int = 5, seed: int = 0, ragged: bool = True) -> bm.Tasks:
    """Data simulated from `truth(num_tasks, seed)`: y of shape (tasks, data).

    Ragged tasks hold 1 to `num_data` datapoints (the first task all of them), a prefix of what they
    hold otherwise.
    """
    phi = truth(num_tasks, seed)["phi"].numpy()
    rng = np.random.default_rng([seed, 1])
    y = rng.normal(phi[:, None], SIGMA, (num_tasks, num_data))
    if not ragged:
        return bm.Tasks.from_arrays(y)
    sizes = rng.integers(1, num_data + 1, num_tasks)
    sizes[0] = num_data
    return bm.Tasks.from_list([row[:size] for row, size in zip(y, sizes, strict=True)])


@dataclass(frozen=True)
class Exact:
    """The Gaussian posterior of (mu, phi_1, ..., phi_I), and log p(D)."""

    mean: Tensor  # (1 + tasks,)
    covariance: Tensor  # (1 + tasks, 1 + tasks)
    log_evidence: Tensor  # ()

    @property
    def sd(self) -> Tensor:
        """Posterior standard deviations, (1 + tasks,)."""
        return self.covariance.diagonal().sqrt()


def exact(tasks: bm.Tasks) -> Exact:
    """The posterior in closed form, in float64, from each task's size, mean and sum of squares.

    The precision of (mu, phi) is an arrowhead, since given mu the phi_i are independent:
    phi_i | mu, D ~ N(v_i s_i / SIGMA^2 + k_i mu, v_i), where 1 / v_i = 1 / TAU^2 + n_i / SIGMA^2,
    k_i = v_i / TAU^2 and s_i is the task's sum. So only mu is left to solve for (Lindley and Smith
    1972). A task without data is allowed.

    Raises:
        ValueError: where the tasks have no y.
    """
    n, total, square = _sufficient(tasks)
    v = 1.0 / (1.0 / TAU**2 + n / SIGMA**2)
    k = v / TAU**2
    # Integrating phi_i out leaves N(mean of y_i; mu, TAU^2 + SIGMA^2 / n_i), so that task i adds
    # n_i k_i / SIGMA^2 to the precision of mu.
    mu_var = 1.0 / (1.0 / MU_SD**2 + (n * k).sum() / SIGMA**2)
    mu = mu_var * (k * total).sum() / SIGMA**2
    mean = torch.cat([mu[None], v * total / SIGMA**2 + k * mu])
    loading = torch.cat([torch.ones_like(mu)[None], k])  # d(mu, phi) / d(mu)
    spread = torch.cat([torch.zeros_like(mu)[None], v])
    covariance = mu_var * torch.outer(loading, loading) + torch.diag(spread)
    log_evidence = 0.5 * (
        mu**2 / mu_var
        + (mu_var / MU_SD**2).log()
        + (v / TAU**2).log().sum()
        + (v * total**2 / SIGMA**4).sum()
        - square.sum() / SIGMA**2
        - n.sum() * math.log(2.0 * math.pi * SIGMA**2)
    )
    return Exact(mean, covariance, log_evidence)


def _sufficient(tasks: bm.Tasks) -> tuple[Tensor, Tensor, Tensor]:
    """Each task's number of datapoints, their sum and their sum of squares, (tasks,) each."""
    if tasks.y is None:
        raise ValueError(
            "exact() was given tasks with y=None; it needs the data: pass tasks that have y."
        )
    y = torch.where(tasks.mask, tasks.y, 0.0).double()
    return tasks.mask.sum(-1).double(), y.sum(-1), (y**2).sum(-1)
