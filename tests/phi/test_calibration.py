"""Simulation-based calibration (Talts et al. 2018) of an amortised hierarchical model.

A task is a whole study: mu of the study, five groups' means phi_k ~ N(mu, TAU), and four points of
each group. One network is trained on studies from the prior, and infers mu and phi of a thousand
others. Ranks of the truth are uniform for mu, phi and the log likelihood (Modrak et al. 2023).
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.trust.uniformity import p_value, ranks

GROUPS, SIZE, DRAWS = 5, 4, 99
MU_SD, TAU, SIGMA = 1.5, 1.0, 1.0


def study(tasks: bm.Tasks) -> None:
    """A hierarchical model a task."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        mu = pyro.sample("mu", dist.Normal(0.0, MU_SD))
        each = mu[..., None].expand(*mu.shape, GROUPS)
        phi = pyro.sample("phi", dist.Normal(each, TAU).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = (phi * tasks.x["group"]).sum(-1)
            pyro.sample("y", dist.Normal(mean, SIGMA), obs=tasks.y)


def simulate(count: int, seed: int) -> tuple[bm.Tasks, Tensor, Tensor]:
    """Studies with their mu (studies,) and phi (studies, groups)."""
    generator = torch.Generator().manual_seed(seed)
    mu = MU_SD * torch.randn(count, generator=generator)
    phi = mu[:, None] + TAU * torch.randn(count, GROUPS, generator=generator)
    mean = phi.repeat_interleave(SIZE, 1)
    y = mean + SIGMA * torch.randn(mean.shape, generator=generator)
    group = torch.eye(GROUPS).repeat_interleave(SIZE, 0).expand(count, -1, -1)
    return bm.Tasks.from_arrays(y, {"group": group}), mu, phi


def log_likelihood(tasks: bm.Tasks, phi: Tensor) -> Tensor:
    """Of phi (..., studies, groups), (..., studies)."""
    mean = phi.repeat_interleave(SIZE, -1)
    return dist.Normal(mean, SIGMA).log_prob(tasks.y).sum(-1)


@pytest.fixture(scope="module")
def posterior() -> bm.Posterior:
    adam = bm.Adam(lr=3e-3, steps=6000, patience=0, compile=False)
    tasks, _, _ = simulate(20_000, seed=0)
    theta, phi = bm.Point(batch_size=100, adam=adam), bm.Amortised(draws=DRAWS)
    return bm.fit(study, tasks, theta=theta, phi=phi, progress=False)


def p_values(posterior: bm.Posterior, spread: float) -> dict[str, float]:
    """Of each quantity, with draws whose distance from their mean is multiplied by `spread`."""
    tasks, mu, phi = simulate(1000, seed=1)
    draws = posterior.adapt(tasks).phi
    moved = {n: v[0].mean(0) + spread * (v[0] - v[0].mean(0)) for n, v in draws.items()}
    found = {
        "mu": ranks(moved["mu"], mu),
        "phi": ranks(moved["phi"][..., 0], phi[:, 0]),
        "log likelihood": ranks(log_likelihood(tasks, moved["phi"]), log_likelihood(tasks, phi)),
    }
    return {name: p_value(r, DRAWS) for name, r in found.items()}


@pytest.mark.slow
def test_ranks_are_uniform(posterior: bm.Posterior) -> None:
    found = p_values(posterior, 1.0)
    assert min(found.values()) > 0.001, found


@pytest.mark.slow
def test_sds_that_are_a_fifth_too_small_are_found(posterior: bm.Posterior) -> None:
    found = p_values(posterior, 0.8)
    assert max(found.values()) < 0.001, found


def test_the_statistic_knows_uniform_from_not() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(500, generator=generator)
    draws = torch.randn(DRAWS, 500, generator=generator)
    assert p_value(ranks(draws, truth), DRAWS) > 0.01
    assert p_value(ranks(0.8 * draws, truth), DRAWS) < 0.001
    assert p_value(ranks(draws + 0.3, truth), DRAWS) < 0.001
