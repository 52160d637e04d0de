"""Radon in Minnesota: 919 houses in 85 counties, a line per county, given its uranium.

alpha_i ~ N(gamma0 + gamma1 u_i, tau_alpha)    log radon in the basements of county i
beta_i  ~ N(delta0 + delta1 u_i, tau_beta)     what measuring on the first floor adds
y_ij    ~ N(alpha_i + beta_i floor_ij, sigma)

Gelman and Hill (2007), Data Analysis Using Regression and Multilevel/Hierarchical Models, chapters
12 and 13. The source of the data is in data/README.md.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyro
import pyro.distributions as dist

import bayesmeta as bm

_CSV = Path(__file__).parent / "data" / "radon_mn.csv"


def model(tasks: bm.Tasks) -> None:
    """A line per county, under priors that are wide for log radon (sd 0.85 over all houses)."""
    gamma0 = pyro.sample("gamma0", dist.Normal(0.0, 2.0))
    gamma1 = pyro.sample("gamma1", dist.Normal(0.0, 2.0))
    delta0 = pyro.sample("delta0", dist.Normal(0.0, 2.0))
    delta1 = pyro.sample("delta1", dist.Normal(0.0, 2.0))
    tau_alpha = pyro.sample("tau_alpha", dist.HalfNormal(1.0))
    tau_beta = pyro.sample("tau_beta", dist.HalfNormal(1.0))
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))
    u = tasks.x["log_uranium"]
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        alpha = pyro.sample("alpha", dist.Normal(gamma0 + gamma1 * u, tau_alpha))
        beta = pyro.sample("beta", dist.Normal(delta0 + delta1 * u, tau_beta))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(alpha + beta * tasks.x["floor"], sigma), obs=tasks.y)


def frame() -> pd.DataFrame:
    """One row a house: county, floor (0 or 1), log_uranium (one value a county), log_radon."""
    # Read as text first: not every pandas parses floats to the last bit.
    floats = dict.fromkeys(["floor", "log_uranium", "log_radon"], "float64")
    return pd.read_csv(_CSV, dtype="str").astype(floats)


def tasks() -> bm.Tasks:
    """A task per county: y and x["floor"] of shape (85, 116), x["log_uranium"] of shape (85, 1)."""
    return bm.Tasks.from_frame(
        frame(), task="county", y="log_radon", x=["floor"], task_x=["log_uranium"]
    )
