"""A level inside tasks with another number of members in each, as docs/latents.md has it."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm

CLASSES = [[0, 0, 1, 2], [0, 1, 1], [0, 0]]
Y = [[1.0, 2.0, 0.5, 3.0], [-1.0, 0.2, 0.1], [2.0, 2.5]]
TASKS = bm.Tasks.from_list(Y, x={"class": CLASSES}, names=["a", "b", "c"]).to(dtype=torch.float64)
SPREAD = 0.8


def schools(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        school = pyro.sample("school", dist.Normal(mu, 1.0))
        with pyro.plate("classes", 3, dim=-3):
            of_class = pyro.sample("of_class", dist.Normal(0.0, SPREAD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            task = torch.arange(tasks.num_tasks)[:, None]
            mean = school + of_class[tasks.x["class"].long(), task, 0]
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def exact(i: int, mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (school, its classes) given mu, of the classes that it has."""
    number = max(CLASSES[i]) + 1
    design = np.column_stack([np.ones(len(Y[i])), np.eye(number)[CLASSES[i]]])
    prior = np.diag([1.0, *[SPREAD**-2] * number])
    covariance = np.linalg.inv(prior + design.T @ design)
    return covariance @ (
        design.T @ np.array(Y[i]) + prior @ np.array([mu, *[0.0] * number])
    ), covariance


def test_classes_that_are_not_there_change_nothing() -> None:
    known = bm.Fixed({"mu": torch.tensor(0.3)})
    post = bm.fit(schools, TASKS, theta=known, phi=bm.Exact(draws=20_000), progress=False)
    for i, has in enumerate((3, 2, 1)):
        mean, covariance = exact(i, 0.3)
        of_class = post.phi["of_class"][0, :, i]
        found = torch.cat([post.phi["school"][0, :, i, None], of_class[:, :has]], 1).numpy()
        sd = np.sqrt(np.diag(covariance))
        assert np.abs((found.mean(0) - mean) / sd).max() < 0.04
        assert np.abs(np.cov(found.T) - covariance).max() < 0.04
        if has < 3:
            absent = of_class[:, has:]
            assert bool((absent.mean(0).abs() < 0.04).all())
            assert torch.allclose(absent.std(0), torch.tensor(SPREAD).double(), rtol=0.04)


@pytest.mark.slow
def test_the_level_is_named_in_arviz_and_inferred_with_theta() -> None:
    nuts = bm.NUTS(chains=2, tune=200, draws=300, compile=False)
    post = bm.fit(schools, TASKS, theta=nuts, progress=False)
    assert post.to_arviz()["posterior"]["of_class"].dims == ("chain", "draw", "tasks", "classes")
    by_exact = bm.fit(schools, TASKS, theta=nuts, phi=bm.Exact(), progress=False)
    close = (post.theta["mu"].mean() - by_exact.theta["mu"].mean()).abs()
    assert close < 0.3 * by_exact.theta["mu"].std()
