"""A q(theta) that is too wide, too narrow or off its place is told by importance weights."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.draws.draws import Draws
from bayesmeta.posterior.theta_weights import doubts_about_theta


def model(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 100.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 2.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


@pytest.fixture(scope="module")
def right() -> Draws:
    """Draws of the posterior itself, which is normal, with their density."""
    tasks = bm.Tasks.from_arrays([[40.0, 41.0], [44.0, 43.0], [38.0, 39.0]])
    few = bm.Adam(steps=2, compile=False)
    theta = bm.Gaussian(draws=2000, adam=few)
    fitted = bm.fit(model, tasks, theta=theta, phi=bm.Exact(10), progress=False).draws
    precision = 3 / (2.0**2 + 1 / 2) + 1e-4
    mean = float(tasks.y.mean()) * (precision - 1e-4) / precision
    z = torch.randn(1, 2000, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    log_q = -0.5 * z[..., 0] ** 2 - 0.5 * math.log(2 * math.pi / precision)
    fit = replace(fitted.fit, theta=mean + z * precision**-0.5, log_q=log_q)
    return replace(fitted, fit=fit)


def moved(draws: Draws, *, by: float = 0.0, times: float = 1.0) -> Draws:
    theta = draws.fit.theta
    centre, sd = theta.mean(), theta.std()
    other = centre + by * sd + times * (theta - centre)
    fit = replace(draws.fit, theta=other, log_q=draws.fit.log_q - math.log(times))
    return replace(draws, fit=fit)


def test_the_posterior_itself_is_not_doubted(right: Draws) -> None:
    found, k = doubts_about_theta(right)
    assert found == [] and k is not None and k < 0.1
    target, log_q = right.theta_target, right.fit.log_q
    assert target is not None and log_q is not None
    weights = -target.slopes(right.fit.theta[0])[0] - log_q[0]
    assert float(weights.std()) < 1e-4


@pytest.mark.parametrize(
    ("by", "times", "words"),
    [
        (0.7, 1.0, "mean of mu is"),
        (0.0, 2.0, "deviation of mu is 2"),
        (0.0, 0.7, "deviation of mu is 0."),
    ],
)
def test_one_that_is_off_is(right: Draws, by: float, times: float, words: str) -> None:
    found, _ = doubts_about_theta(moved(right, by=by, times=times))
    assert len(found) == 1
    assert words in found[0]


def test_where_nothing_is_known_nothing_is_said(right: Draws) -> None:
    assert doubts_about_theta(replace(right, fit=replace(right.fit, log_q=None))) == ([], None)
