"""fit refuses what are no strategies, in words that say which and why, and notes flat priors."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means

TASKS = normal_means.tasks(num_tasks=3, num_data=2)
SHORT = bm.Gaussian(adam=bm.Adam(steps=5, compile=False), draws=5)


@pytest.mark.parametrize(
    ("theta", "phi", "message"),
    [
        (bm.Joint(), bm.NUTS(), r"theta=Joint\(\): Joint is a strategy for phi"),
        (bm.NUTS, bm.Joint(), r"NUTS is a class: call it, bm\.NUTS\(\)"),
        ("nuts", bm.Joint(), r"theta='nuts': give a strategy, such as theta=bm\.NUTS\(\)"),
        (bm.Point(), "joint", r"phi='joint': give a strategy, such as phi=bm\.Joint\(\)"),
    ],
)
def test_what_is_no_strategy_is_named(theta, phi, message):
    with pytest.raises(TypeError, match=message):
        bm.fit(normal_means.model, TASKS, theta=theta, phi=phi)


def test_adapt_names_what_it_got():
    post = bm.prior(normal_means.model, TASKS, draws=2)
    with pytest.raises(TypeError, match=r"a list and phi=None; give bm\.Tasks"):
        post.adapt([[1.0]])
    with pytest.raises(TypeError, match=r"phi='laplace'.*such as phi=bm\.Laplace\(\)"):
        post.adapt(TASKS, phi="laplace")


def test_a_parameter_that_becomes_a_latent_is_noted():
    def model(tasks):
        mu = pyro.param("mu", torch.tensor(0.0, dtype=torch.float64))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    post = bm.fit(model, TASKS, theta=SHORT, progress=False)
    assert post.notes[-1].startswith("pyro.param mu: part of theta with a flat prior")
    point = bm.Point(adam=bm.Adam(steps=5, compile=False))
    assert not bm.fit(model, TASKS, theta=point, progress=False).notes
