"""Simulation-based calibration: the ranks of what was drawn from the model, among posterior draws.

Talts et al. (2018); the log likelihood is a quantity too (Modrak et al. 2023). Lengths in mm.
"""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.trust.uniformity import p_value, ranks

SIMULATIONS, DRAWS, THIN = 64, 99, 3
GROUPS, EACH = 20, 4
MU_SD, TAU, TAU_LOG_SD, S = 3000.0, 500.0, 0.5, 500.0
MCMC = bm.NUTS(chains=1, tune=200, draws=THIN * DRAWS, compile=False)
VARIATIONAL = bm.Gaussian(adam=bm.Adam(steps=500, compile=False))
PAIRS = {
    "NUTS + Joint": (MCMC, bm.Joint()),
    "NUTS + Exact": (MCMC, bm.Exact(THIN * DRAWS)),
    "Gaussian + Exact": (VARIATIONAL, bm.Exact(THIN * DRAWS)),
}


def model(tasks: bm.Tasks) -> None:
    """Groups of lengths."""
    mu = pyro.sample("mu", dist.Normal(0.0, MU_SD))
    tau = pyro.sample("tau", dist.LogNormal(math.log(TAU), TAU_LOG_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, S), obs=tasks.y)


def study(seed: int) -> tuple[bm.Tasks, Tensor]:
    """Tasks that NumPy drew from the model, and their mu, tau, first phi and log p(y | phi)."""
    random = np.random.default_rng(seed)
    mu, tau = MU_SD * random.normal(), TAU * np.exp(TAU_LOG_SD * random.normal())
    phi = mu + tau * random.normal(size=GROUPS)
    y = torch.as_tensor(phi[:, None] + S * random.normal(size=(GROUPS, EACH)))
    fit = log_likelihood(torch.as_tensor(phi), y)
    return bm.Tasks.from_arrays(y), torch.stack([*torch.tensor([mu, tau, phi[0]]), fit])


def log_likelihood(phi: Tensor, y: Tensor) -> Tensor:
    """Of phi (..., groups), (...)."""
    return dist.Normal(phi[..., None], S).log_prob(y).sum((-1, -2))


def quantities(post: bm.Posterior, y: Tensor) -> Tensor:
    """(draws, 4), as those of the study."""
    mu, tau = (post.theta[name].flatten() for name in ("mu", "tau"))
    phi = post.phi["phi"].flatten(0, 1)
    each = torch.stack([mu[: len(phi)], tau[: len(phi)], phi[:, 0], log_likelihood(phi, y)], -1)
    return each[: THIN * DRAWS : THIN]


def simulated(pair: str) -> tuple[Tensor, Tensor]:
    """Draws (draws, simulations, 4) and truths (simulations, 4)."""
    theta, phi = PAIRS[pair]
    draws, truths = [], []
    for seed in range(SIMULATIONS):
        tasks, truth = study(seed)
        post = bm.fit(model, tasks, theta=theta, phi=phi, seed=seed, progress=False)
        draws.append(quantities(post, tasks.y))
        truths.append(truth)
    return torch.stack(draws, 1), torch.stack(truths)


def p_values(draws: Tensor, truths: Tensor) -> list[float]:
    """Of uniform ranks, for each quantity."""
    each = zip(draws.unbind(-1), truths.unbind(-1), strict=True)
    return [p_value(ranks(*pair), DRAWS) for pair in each]


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS)
def test_ranks_are_uniform_and_those_of_worse_draws_are_not(pair: str) -> None:
    draws, truths = simulated(pair)
    assert min(p_values(draws, truths)) > 0.01
    mean, sd = draws.mean(0), draws.std(0)
    assert max(p_values(mean + 0.5 * (draws - mean), truths)) < 0.01
    assert max(p_values(draws + 0.8 * sd, truths)) < 0.01
