"""Which pairs are calibrated, and that small errors are found, by 300 simulations."""

from __future__ import annotations

import math
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.running.handlers import Model
from tests.trust.worse import Kept, Worse

MANY = 300
TASKS = bm.Tasks.from_arrays(torch.zeros(8, 2, dtype=torch.float64))
FEW_COUNTS = bm.Tasks.from_arrays(torch.ones(8, 3, dtype=torch.float64))
COUNTS = bm.Tasks.from_arrays(torch.ones(10, 4, dtype=torch.float64))
MCMC = bm.NUTS(chains=1, tune=300, draws=400)


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


class Pair(NamedTuple):
    """A model with its design, and how it is fitted."""

    model: Model
    tasks: bm.Tasks
    theta: bm.Theta
    phi: bm.Phi

    def calibrated(self, theta: bm.Theta, simulations: int = MANY) -> bm.SBC:
        given = {"theta": theta, "phi": self.phi, "simulations": simulations}
        return bm.sbc(self.model, self.tasks, **given, progress=False)


# After so few steps 67 of 300 do not pass their own `diagnose`, and are calibrated all the same.
ADAM = bm.Adam(steps=300, compile=False)

PAIRS = {
    "NUTS + Joint": Pair(hierarchy, TASKS, MCMC, bm.Joint()),
    "NUTS + Exact": Pair(hierarchy, TASKS, MCMC, bm.Exact(400)),
    "Importance + Exact": Pair(hierarchy, TASKS, bm.Importance(draws=1000), bm.Exact(400)),
    "Gaussian + Exact": Pair(hierarchy, TASKS, bm.Gaussian(draws=200, adam=ADAM), bm.Exact()),
    "Poisson: NUTS + Joint": Pair(counts, COUNTS, MCMC, bm.Joint()),
    "Poisson: NUTS + Laplace": Pair(counts, COUNTS, MCMC, bm.Laplace(particles=16)),
}
AMORTISED = Pair(
    counts,
    FEW_COUNTS,
    bm.Gaussian(draws=200, particles=4, adam=bm.Adam(lr=0.01, steps=400, compile=False)),
    bm.Amortised(encoder=bm.DeepSet(width=32), width=32),
)
# What is done to draws of theta, which row finds it, and what is said.
CONTROLS = {
    "sd x 0.8": ({"spread": 0.8}, "tau", "too narrow"),
    "bias .3 sd": ({"shift": 0.3}, "tau", "biased up"),
    "data ignored": ({"blind": True}, "log likelihood", "explain the data worse"),
}


def check_controls(pair: Pair, kept: Kept, simulations: int = MANY) -> None:
    for name, (what, row, how) in CONTROLS.items():
        found = pair.calibrated(Worse(kept, **what), simulations)
        assert how in found.failing.get(row, ""), f"{name} was not found: {found}"


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_pairs_that_are_exact_are_calibrated_and_made_worse_are_not(name: str) -> None:
    """By the same fits: what is made worse are their draws of theta."""
    pair = PAIRS[name]
    kept = Kept(pair.theta)
    found = pair.calibrated(kept)
    assert not found.failing and not found.failures, str(found)
    check_controls(pair, kept)


@pytest.mark.slow
def test_a_network_that_is_trained_anew_in_each_simulation_is_calibrated() -> None:
    """A quarter of an hour: 300 networks of 400 steps each; of controls a third is enough."""
    kept = Kept(AMORTISED.theta)
    found = AMORTISED.calibrated(kept)
    assert not found.failing and not found.failures, str(found)
    check_controls(AMORTISED, kept, 100)


def test_a_hundred_simulations_of_nuts_find_no_failure_but_that_of_half_the_width() -> None:
    pair = PAIRS["NUTS + Joint"]
    kept = Kept(bm.NUTS(chains=1, tune=200, draws=200))
    found = pair.calibrated(kept, 100)
    assert not found.failing and not found.failures, str(found)
    assert "too narrow" in pair.calibrated(Worse(kept, spread=0.5), 40).failing["tau"]


@pytest.mark.slow
def test_a_plug_in_estimate_of_a_spread_is_too_narrow() -> None:
    found = PAIRS["NUTS + Exact"].calibrated(bm.Point())
    for name in ("mu", "tau"):
        assert "too narrow" in found.failing[name] and found.table.loc[name, "covers90"] == 0
    # Phi given the best tau: less than all that is not known, and most of it.
    assert "too narrow" in found.failing["new phi"]
    assert 0.7 < found.table.loc["new phi", "covers90"] < 0.88


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
