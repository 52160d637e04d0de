"""The lecture's model many times over: a theta for each task, so that one fit is many studies.

`lecture.meta_learning` has one theta. Here each task of the library is a study of its own, with
one phi and a theta that nobody knows, and phi=bm.Exact() integrates both in closed form: what a
new task is to one who starts from scratch.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm
from bayesmeta.models.lecture import NOISE, PHI_SD, THETA_SD


def from_scratch(tasks: bm.Tasks) -> None:
    """theta_i ~ N(0, THETA_SD^2), phi_i ~ N(theta_i, PHI_SD^2), y_ij ~ N(phi_i x_ij, NOISE^2)."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        theta = pyro.sample("theta", dist.Normal(0.0, THETA_SD))
        phi = pyro.sample("phi", dist.Normal(theta, PHI_SD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi * tasks.x["x"], NOISE), obs=tasks.y)


def first(tasks: bm.Tasks, count: int) -> bm.Tasks:
    """The same tasks with their first `count` datapoints; with 0, what is known of them before."""
    if tasks.y is None:
        raise ValueError("the tasks have no y, so there are no datapoints to take some of")
    seen = torch.arange(tasks.num_data) < count
    return bm.Tasks.from_arrays(tasks.y, tasks.x, mask=tasks.mask & seen, names=tasks.names)


def theta_known(theta: float, draws: int) -> bm.Pair:
    """The pair of strategies that knows theta."""
    return {"theta": bm.Fixed({"theta": torch.tensor(theta)}), "phi": bm.Exact(draws)}


def theta_open(draws: int) -> bm.Pair:
    """The pair of strategies for `from_scratch`, which has nothing but phi."""
    return {"theta": bm.Fixed({}), "phi": bm.Exact(draws)}
