"""NUTS, Gaussian and Point against the closed form of the conjugate model, with a planted bug."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means


@pytest.fixture(scope="module")
def tasks():
    return normal_means.tasks(num_tasks=8, num_data=5, seed=0, ragged=True)


def moments(post):
    draws = torch.cat([post.theta["mu"][..., None], post.phi["phi"]], -1).flatten(0, 1)
    return draws.mean(0), draws.std(0) if len(draws) > 1 else torch.zeros(draws.shape[1])


def worst(post, tasks):
    """The largest error of a mean in sds, and the largest relative error of an sd."""
    exact = normal_means.exact(tasks)
    mean, sd = moments(post)
    return (
        ((mean - exact.mean) / exact.sd).abs().max().item(),
        (sd / exact.sd - 1).abs().max().item(),
    )


def wrong_model(tasks):
    """The planted bug: the variance of phi's prior is off by a factor of 2."""
    mu = pyro.sample("mu", dist.Normal(0.0, normal_means.MU_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, normal_means.TAU * 0.5**0.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, normal_means.SIGMA), obs=tasks.y)


# With 100,000 draws the Monte-Carlo error of a mean is 0.003 sd, of an sd 0.2%.
GAUSSIAN = bm.Gaussian(draws=100_000, adam=bm.Adam(compile=False))


def test_full_rank_gaussian_is_exact(tasks):
    post = bm.fit(normal_means.model, tasks, theta=GAUSSIAN, progress=False)
    mean, sd = worst(post, tasks)
    assert mean < 0.02 and sd < 0.03


def test_full_rank_gaussian_check_catches_a_wrong_prior(tasks):
    post = bm.fit(wrong_model, tasks, theta=GAUSSIAN, progress=False)
    mean, sd = worst(post, tasks)
    assert mean > 0.02 and sd > 0.03


@pytest.mark.parametrize("noncentred", [pytest.param((), marks=pytest.mark.slow), ("phi",)])
def test_full_rank_gaussian_is_exact_on_minibatches_and_noncentred(tasks, noncentred):
    theta = bm.Gaussian(
        batch_size=4, noncentred=noncentred, draws=100_000, adam=bm.Adam(compile=False)
    )
    mean, sd = worst(bm.fit(normal_means.model, tasks, theta=theta, progress=False), tasks)
    assert mean < 0.02 and sd < 0.03


def test_mean_field_means_are_exact_and_its_sds_are_known_to_be_small(tasks):
    theta = bm.Gaussian(bm.MeanField(), draws=100_000, adam=bm.Adam(compile=False))
    post = bm.fit(normal_means.model, tasks, theta=theta, progress=False)
    exact = normal_means.exact(tasks)
    mean, sd = moments(post)
    # The optimal mean field has the conditional sds: the inverse diagonal of the precision.
    conditional = torch.linalg.inv(exact.covariance).diagonal().rsqrt()
    assert ((mean - exact.mean) / exact.sd).abs().max() < 0.02
    assert (sd / conditional - 1).abs().max() < 0.03


def test_point_is_the_closed_form_mode(tasks):
    post = bm.fit(normal_means.model, tasks, theta=bm.Point(), progress=False)
    mean, _ = worst(post, tasks)
    assert mean < 1e-3
    post = bm.fit(wrong_model, tasks, theta=bm.Point(), progress=False)
    assert worst(post, tasks)[0] > 1e-3


NUTS = bm.NUTS(chains=2, tune=500, draws=1500, compile=False)


def test_nuts_agrees_with_the_closed_form(tasks):
    exact = normal_means.exact(tasks)
    post = bm.fit(normal_means.model, tasks, theta=NUTS, progress=False)
    mean, sd = moments(post)
    table = post.summary()
    error = (mean - exact.mean).abs() / torch.tensor(table["mcse_mean"].to_numpy())
    assert error.max() < 4.5
    assert (sd / exact.sd - 1).abs().max() < 0.1


@pytest.mark.slow
def test_nuts_check_catches_a_wrong_prior(tasks):
    exact = normal_means.exact(tasks)
    post = bm.fit(wrong_model, tasks, theta=NUTS, progress=False)
    mean, sd = moments(post)
    error = (mean - exact.mean).abs() / torch.tensor(post.summary()["mcse_mean"].to_numpy())
    assert error.max() > 4.5 or (sd / exact.sd - 1).abs().max() > 0.1


@pytest.mark.slow
def test_adapting_to_the_fitted_tasks_gives_their_posterior_back(tasks):
    """p(phi_i | D) = E[p(phi_i | theta, D_i)]: theta has already seen D_i."""
    exact = normal_means.exact(tasks)
    post = bm.fit(normal_means.model, tasks, theta=GAUSSIAN, progress=False)
    small = bm.fit(
        normal_means.model, tasks, theta=bm.Gaussian(draws=4000, adam=bm.Adam()), progress=False
    )
    adapted = small.adapt(tasks).phi["phi"].flatten(0, 1)
    error = (adapted.mean(0) - exact.mean[1:]).abs() / exact.sd[1:]
    assert error.max() < 0.08
    assert (adapted.std(0) / exact.sd[1:] - 1).abs().max() < 0.06
    assert post.phi["phi"].shape[1] == 100_000
