"""Theta of chains beside theta by weights: chains that stay at hills of phi are told."""

from __future__ import annotations

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.draws.draws import Draws
from bayesmeta.posterior.theta_beside import about_hills_of_kinds
from bayesmeta.theta.base import Fit

Y = [[-0.19, -0.62], [-0.19, 0.71, -0.57], [2.94], [0.03, 0.54, -0.89, -0.27]]
Y += [[-2.24, -1.12], [2.48, 2.24, 0.6], [-0.19, -1.34], [2.19, 3.5, 2.2, 2.74, 3.38]]
TASKS = bm.Tasks.from_list(Y)
COUNTS = bm.Tasks.from_list([[1.0, 0.0], [2.0], [9.0, 12.0, 8.0], [0.0, 1.0, 3.0], [14.0], [7.0]])


def kinds(tasks: bm.Tasks) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        kind = pyro.sample("kind", dist.Bernoulli(share))
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        phi = pyro.deterministic("phi", mu + 3.0 * kind + tau * u)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 0.7), obs=tasks.y)


def kinds_of_counts(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        kind = pyro.sample("kind", dist.Bernoulli(0.4))
        u = pyro.sample("u", dist.Normal(0.0, 1.0))
        phi = pyro.deterministic("phi", mu + 2.0 * kind + tau * u)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(phi.exp()), obs=tasks.y)


@functools.cache
def by_weights(model, tasks: bm.Tasks, phi: bm.Laplace) -> Draws:
    by = bm.Importance(draws=2000, rounds=2)
    return bm.fit(model, tasks, theta=by, phi=phi, progress=False).draws


def chains(model, tasks: bm.Tasks, phi: bm.Laplace, keep) -> Draws:
    """Chains of independent draws of theta, phi integrated out, of which some are kept."""
    post = by_weights(model, tasks, phi)
    kept: Tensor = keep(post.theta_values)[0]
    theta = post.fit.theta[0][kept]
    mixed = theta[torch.randint(len(theta), (4, 500), generator=torch.Generator().manual_seed(1))]
    free = torch.zeros(*mixed.shape[:2], len(tasks), 1, dtype=mixed.dtype)
    stats = {"diverging": torch.zeros(mixed.shape[:2], dtype=torch.bool)}
    fit = Fit(post.density, post.tasks, mixed, phi=free, stats=stats)
    return Draws(fit, bm.Joint(), is_point=False, seed=0)


@pytest.mark.parametrize("model", [kinds, kinds_of_counts])
def test_chains_that_miss_a_part_of_theta_are_told_and_others_are_not(model) -> None:
    exact = model is kinds
    given = (kinds, TASKS, bm.Laplace()) if exact else (model, COUNTS, bm.Laplace(particles=16))
    right = chains(*given, lambda values: values["tau"] > 0)
    assert about_hills_of_kinds(right) == []
    wrong = chains(*given, lambda values: values["tau"] < (0.9 if exact else 0.5))
    (said,) = about_hills_of_kinds(wrong)
    assert "one for each value of kind" in said and "tau is 0." in said
    assert ("phi=bm.Laplace(" in said) and (("particles=16" in said) is not exact)


def test_models_without_kinds_and_data_that_are_gone_are_left_alone() -> None:
    def plain(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 0.7), obs=tasks.y)

    assert about_hills_of_kinds(chains(plain, TASKS, bm.Laplace(), lambda v: v["mu"] > 0)) == []
    wrong = chains(kinds, TASKS, bm.Laplace(), lambda values: values["tau"] < 0.5)
    gone = Fit(wrong.density, TASKS.without_data(), wrong.fit.theta, wrong.fit.phi, wrong.fit.stats)
    assert about_hills_of_kinds(Draws(gone, bm.Joint(), is_point=False, seed=0)) == []
