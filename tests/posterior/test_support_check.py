"""Draws at which the outcomes are impossible are named by task and site."""

from __future__ import annotations

from dataclasses import replace

import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm
from bayesmeta.draws.draws import Draws
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.phi.joint import Joint
from bayesmeta.posterior.support_check import about_supports
from bayesmeta.theta.base import Fit

TASKS = bm.Tasks.from_list([[3.0, 2.2], [0.7, 0.9, 1.0]], names=["a", "b"]).to(dtype=torch.float64)


def model(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        b = pyro.sample("b", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Uniform(b, 10.0), obs=tasks.y)


def draws(bound: torch.Tensor) -> Draws:
    """Draws of the bounds (draw, tasks)."""
    density = Density(read(model, TASKS))
    theta = torch.zeros(1, len(bound), 0, dtype=torch.float64)
    fit = Fit(density, TASKS, theta, bound[None, :, :, None])
    return Draws(fit, Joint(), False, 0)


def test_impossible_draws_are_told_by_task() -> None:
    bound = torch.tensor([[2.0, 0.8], [2.0, 0.5], [1.0, 0.9], [1.0, 0.6]], dtype=torch.float64)
    (message,) = about_supports(draws(bound))
    assert "task 'b' (50.0%)" in message and "task 'a'" not in message
    assert "support of site 'y' has an edge at 'b'" in message


def test_possible_draws_are_not() -> None:
    bound = torch.tensor([[2.0, 0.6], [1.0, 0.5]], dtype=torch.float64)
    assert about_supports(draws(bound)) == []
    told = replace(draws(bound).fit, stats={"diverging": torch.tensor([[True, False]])})
    assert "does not bias" in about_supports(replace(draws(bound), fit=told))[0]
