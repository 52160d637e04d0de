"""Which pairs are calibrated, and that small errors are found, by 300 simulations."""

from __future__ import annotations

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means
from tests.trust.worse import Worse

MANY = 300
TASKS = normal_means.tasks(num_tasks=8, num_data=2, ragged=False)
COUNTS = bm.Tasks.from_arrays(torch.ones(10, 4, dtype=torch.float64))
MCMC = bm.NUTS(chains=1, tune=300, draws=400)
ADAM = bm.Adam(steps=500, compile=False)


def hierarchy(tasks: bm.Tasks) -> None:
    """Normal outcomes, with a spread between tasks that is learned."""
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.LogNormal(0.0, 0.5))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def counts(tasks: bm.Tasks) -> None:
    """Poisson outcomes."""
    mu = pyro.sample("mu", dist.Normal(0.5, 0.5))
    tau = pyro.sample("tau", dist.LogNormal(math.log(0.5), 0.3))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(phi.exp()), obs=tasks.y)


PAIRS = {
    "NUTS + Joint": (hierarchy, TASKS, MCMC, bm.Joint()),
    "NUTS + Exact": (hierarchy, TASKS, MCMC, bm.Exact(400)),
    "Importance + Exact": (hierarchy, TASKS, bm.Importance(draws=1000), bm.Exact(400)),
    "Gaussian + Exact": (normal_means.model, TASKS, bm.Gaussian(draws=400, adam=ADAM), bm.Exact()),
    "NUTS + Laplace": (counts, COUNTS, MCMC, bm.Laplace(particles=16)),
}


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_pairs_that_are_exact_are_calibrated(pair: str) -> None:
    model, tasks, theta, phi = PAIRS[pair]
    found = bm.sbc(model, tasks, theta=theta, phi=phi, simulations=MANY, progress=False)
    assert not found.failing and not found.failures, str(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("worse", "row", "how"),
    [
        ({"spread": 0.8}, "mu", "too narrow"),
        ({"shift": 0.3}, "mu", "biased up"),
        ({"blind": True}, "log likelihood", "explain the data worse"),
    ],
)
def test_small_errors_are_found(worse: dict[str, float], row: str, how: str) -> None:
    theta = Worse(bm.Importance(draws=400, rounds=1), **worse)
    found = bm.sbc(
        normal_means.model, TASKS, theta=theta, phi=bm.Exact(99), simulations=MANY, progress=False
    )
    assert how in found.failing[row], str(found)


@pytest.mark.slow
def test_a_plug_in_estimate_of_a_spread_is_too_narrow() -> None:
    found = bm.sbc(
        hierarchy, TASKS, theta=bm.Point(), phi=bm.Exact(400), simulations=100, progress=False
    )
    table = found.table
    for name in ("mu", "tau"):
        assert "too narrow" in found.failing[name] and table.loc[name, "covers90"] == 0
    assert table.loc["new phi", "covers90"] > 0.7


@pytest.mark.slow
def test_an_amortised_posterior_of_counts_is_calibrated_at_the_level_of_tasks() -> None:
    adam = bm.Adam(steps=1500, compile=False)
    found = bm.sbc(
        counts,
        COUNTS,
        theta=bm.Gaussian(draws=400, adam=adam),
        phi=bm.Amortised(),
        simulations=50,
        progress=False,
    )
    assert not found.failures and found.table.loc["phi", "covers90"] > 0.75, str(found)


@pytest.mark.slow
def test_calibration_where_the_data_are() -> None:
    study = bm.simulate(hierarchy, TASKS, seed=11)[0]
    theta, phi = bm.Importance(draws=1000), bm.Exact(400)
    post = bm.fit(hierarchy, study.tasks, theta=theta, phi=phi, progress=False)
    given = {"phi": phi, "posterior": post, "simulations": 100, "progress": False}
    found = bm.sbc(hierarchy, study.tasks, theta=theta, **given)
    assert not found.failing and not found.failures, str(found)
    worse = bm.sbc(hierarchy, study.tasks, theta=Worse(theta, spread=0.5), **given)
    assert "too narrow" in worse.failing["mu"]
