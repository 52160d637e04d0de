"""Eight schools: the effect of coaching on a test score, one estimate a school.

mu ~ N(0, 5),  tau ~ HalfCauchy(5),  effect_i ~ N(mu, tau),  y_i ~ N(effect_i, sigma_i)

with sigma_i known. Data: Rubin (1981), Estimation in parallel randomized experiments; Gelman et al.
(2013), Bayesian Data Analysis, section 5.5, where the schools are called A to H.
"""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm

# Posterior mean and sd by quadrature over tau, given which mu and the effects are Gaussian.
_MEAN_SD = {
    "mu": (4.396820714, 3.317704463),
    "tau": (3.597705484, 3.219958415),
    "effect": (
        [
            6.211884204,
            4.940178420,
            3.927004403,
            4.757098291,
            3.615477015,
            4.042612636,
            6.296724128,
            4.854253320,
        ],
        [
            5.593126195,
            4.674268462,
            5.262615105,
            4.780297337,
            4.657452586,
            4.826865592,
            5.077848756,
            5.290801065,
        ],
    ),
}
REFERENCE = {
    site: (torch.tensor(mean, dtype=torch.float64), torch.tensor(sd, dtype=torch.float64))
    for site, (mean, sd) in _MEAN_SD.items()
}


def model(tasks: bm.Tasks) -> None:
    """An effect per school, the schools drawn from one population."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        effect = pyro.sample("effect", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(effect, tasks.x["sigma"]), obs=tasks.y)


def tasks() -> bm.Tasks:
    """The eight schools: y and x["sigma"] of shape (8, 1)."""
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    return bm.Tasks.from_arrays(y[:, None], x={"sigma": sigma[:, None]}, names=list("ABCDEFGH"))
