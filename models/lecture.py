"""lecture: the graphical models of Stanford CS330's lecture on transfer and meta-learning.

    x -> y                                      one datapoint
    x_j -> y_j                                  a dataset: the plate "data"
    x_ij -> y_ij                                datasets: "data" inside "tasks"
    theta -> phi_i -> y_ij <- x_ij              meta-learning: what tasks share, and each task's own

The last one is jointly Gaussian, so that each claim of the lecture is a number with a closed form:
theta ~ N(0, 2^2), phi_i ~ N(theta, 0.5^2), y_ij ~ N(phi_i x_ij, 1).
"""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist

import bayesmeta as bm

THETA_SD, PHI_SD, NOISE = 2.0, 0.5, 1.0


def datapoint(tasks: bm.Tasks) -> None:
    """One x and one y: tasks of one task with one datapoint."""
    pyro.sample("y", dist.Normal(tasks.x["x"], NOISE), obs=tasks.y)


def dataset(tasks: bm.Tasks) -> None:
    """A plate around them: one task with several datapoints."""
    with pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(tasks.x["x"], NOISE), obs=tasks.y)


def datasets(tasks: bm.Tasks) -> None:
    """A plate around the plate."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(tasks.x["x"], NOISE), obs=tasks.y)


def meta_learning(tasks: bm.Tasks) -> None:
    """What the tasks share, theta, and what each has of its own, phi_i."""
    theta = pyro.sample("theta", dist.Normal(0.0, THETA_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(theta, PHI_SD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi * tasks.x["x"], NOISE), obs=tasks.y)


model = meta_learning


def tasks(num_tasks: int = 5, num_data: int = 4, seed: int = 0, slope: bool = False) -> bm.Tasks:
    """Data drawn from `meta_learning`; x is 1, or standard normal where a slope is to be seen."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(0.0, THETA_SD)
    phi = rng.normal(theta, PHI_SD, (num_tasks, 1))
    shape = (num_tasks, num_data)
    x = rng.normal(size=shape) if slope else np.ones(shape)
    return bm.Tasks.from_arrays(rng.normal(phi * x, NOISE), {"x": x})
