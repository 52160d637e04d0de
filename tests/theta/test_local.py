"""Latents of datapoints, by every strategy that treats them, against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.posterior.arviz import groups

SIZES = (5, 2, 4, 3, 6, 1)
RANDOM = np.random.default_rng(3)
Y = [RANDOM.normal(2 + RANDOM.normal(), 0.86, size=size) for size in SIZES]
TASKS = bm.Tasks.from_list(Y, names=list("abcdef")).to(dtype=torch.float64)
FAST = bm.NUTS(chains=2, tune=200, draws=1000, compile=False)
TRUTH, NOISE = 0.7, 0.5


def measured(tasks: bm.Tasks) -> None:
    """What is seen is what is there, with noise: what is there is a latent of the datapoint."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            truth = pyro.sample("truth", dist.Normal(phi, TRUTH))
            pyro.sample("y", dist.Normal(truth, NOISE), obs=tasks.y)


def exact() -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (mu, phi, truths of the rows), by linear algebra."""
    rows = sum(SIZES)
    task = np.repeat(np.arange(len(SIZES)), SIZES)
    prior = np.zeros((1 + len(SIZES) + rows,) * 2)
    scales = [(0, None, 5.0), *((1 + i, 0, 1.0) for i in range(len(SIZES)))]
    scales += [(1 + len(SIZES) + j, 1 + task[j], TRUTH) for j in range(rows)]
    for child, parent, sd in scales:
        edge = np.zeros(len(prior))
        edge[child] = 1
        if parent is not None:
            edge[parent] = -1
        prior += np.outer(edge, edge) / sd**2
    seen = np.arange(1 + len(SIZES), len(prior))
    prior[seen, seen] += 1 / NOISE**2
    right = np.zeros(len(prior))
    right[seen] = np.concatenate(Y) / NOISE**2
    covariance = np.linalg.inv(prior)
    return covariance @ right, covariance


def drawn(post: bm.Posterior) -> torch.Tensor:
    """(draws, numbers) in the order of `exact`."""
    truth = post.phi["truth"][:, :, TASKS.mask]
    parts = [post.theta["mu"][..., None], post.phi["phi"], truth]
    return torch.cat(parts, -1).flatten(0, 1)


@pytest.fixture(scope="module")
def sampled() -> bm.Posterior:
    return bm.fit(measured, TASKS, theta=FAST, progress=False)


@pytest.mark.parametrize("theta", [FAST, bm.Gaussian(), bm.Gaussian(batch_size=3)])
def test_draws_are_of_the_exact_posterior(theta: bm.Theta, sampled: bm.Posterior) -> None:
    post = sampled if theta is FAST else bm.fit(measured, TASKS, theta=theta, progress=False)
    mean, covariance = exact()
    sd, found = np.sqrt(np.diag(covariance)), drawn(post).numpy()
    loose = 2.0 if getattr(theta, "batch_size", None) else 1.0
    assert np.abs((found.mean(0) - mean) / sd).max() < 0.15 * loose
    assert np.abs(found.std(0) / sd - 1).max() < 0.12 * loose
    of_one = np.corrcoef(found[:, 1], found[:, 7])[0, 1]
    assert abs(of_one - covariance[1, 7] / (sd[1] * sd[7])) < 0.1 * loose
    # A posterior without the noise of the measurement is another one.
    assert np.abs(np.concatenate(Y) - mean[7:]).max() > sd[7]


def test_a_point_is_the_mode() -> None:
    post = bm.fit(measured, TASKS, theta=bm.Point(), progress=False)
    assert np.allclose(drawn(post)[0].numpy(), exact()[0], atol=1e-4)


def test_padding_holds_nothing(sampled: bm.Posterior) -> None:
    truth = sampled.phi["truth"]
    assert truth.shape == (2, 1000, 6, 6)
    assert torch.equal(truth.isnan(), ~TASKS.mask.expand_as(truth))
    density = Density(read(measured, TASKS))
    theta, phi = torch.zeros(1, dtype=torch.float64), torch.zeros(6, 7, dtype=torch.float64)
    moved, at = phi.clone(), (~TASKS.mask).nonzero()[0]
    moved[at[0], 1 + at[1]] = 2.0
    gain = density.terms(theta, moved, TASKS).phi - density.terms(theta, phi, TASKS).phi
    assert torch.allclose(gain[at[0]], torch.tensor(-2.0, dtype=torch.float64))
    real = phi.clone()
    real[0, 1] = 2.0
    gain = density.terms(theta, real, TASKS).phi - density.terms(theta, phi, TASKS).phi
    assert torch.allclose(gain[0], torch.tensor(-2 / TRUTH**2, dtype=torch.float64))


def test_rows_that_were_not_seen_get_latents_of_their_own(sampled: bm.Posterior) -> None:
    query = bm.Tasks.from_list([y[:1] for y in Y], names=list("abcdef")).to(dtype=torch.float64)
    phi = sampled.phi["phi"].flatten(0, 1)
    whole = math.sqrt(TRUTH**2 + NOISE**2)
    want = dist.Normal(phi, whole).log_prob(query.y[:, 0]).logsumexp(0) - math.log(len(phi))
    assert torch.allclose(sampled.log_score(query)[:, 0], want, atol=0.15)
    # At the rows that were seen the outcome is known through its latent.
    given = sampled.log_score()[:, 0]
    assert bool((given > want + 0.1).any()) and not torch.allclose(given, want, atol=0.15)
    assert torch.allclose(
        sampled.predict(query).sd[0, 0], (phi[:, 0].var() + whole**2).sqrt(), atol=0.06
    )
    assert any("truth: one a datapoint" in note for note in sampled.notes)
    some = TASKS.select(torch.tensor([4, 1]))
    assert torch.allclose(sampled.log_score(some), sampled.log_score()[[4, 1]], equal_nan=True)


def test_adapt_draws_those_of_new_tasks(sampled: bm.Posterior) -> None:
    new = bm.Tasks.from_list([[1.0, 2.0, 4.0], [3.0]]).to(dtype=torch.float64)
    post = sampled.adapt(new)
    mu = sampled.theta["mu"].flatten()
    for i, (size, total) in enumerate(((3, 7.0), (1, 3.0))):
        precision = size / (TRUTH**2 + NOISE**2)
        variance = 1 / (1 + precision)
        centre = variance * (mu + total * precision / size)
        found = post.phi["phi"][..., i]
        assert abs(found.mean() - centre.mean()) < 0.1
        assert abs(found.std() / (variance + centre.var()).sqrt() - 1) < 0.1
    assert post.phi["truth"].shape == (2, 1000, 2, 3) and post.phi["truth"][0, 0, 1, 1].isnan()


def test_what_is_saved_adapts_and_holds_no_rows(sampled: bm.Posterior, tmp_path: Path) -> None:
    sampled.save(tmp_path / "run")
    again = bm.load(tmp_path / "run", measured)
    assert set(again.phi) == {"phi"} and torch.equal(again.phi["phi"], sampled.phi["phi"])
    # As of new rows, whose latents have the task's mean.
    mean = again.phi["phi"].mean((0, 1))[:, None].expand(TASKS.y.shape)
    assert torch.allclose(again.predict(TASKS).mean[TASKS.mask], mean[TASKS.mask], atol=0.1)
    assert any("truth: one a datapoint, and not stored" in note for note in again.notes)
    assert "truth" in again.adapt(TASKS).phi


def test_arviz_has_them_by_observation(sampled: bm.Posterior) -> None:
    found = groups(sampled.draws)["posterior"]
    assert found["truth"].dims == ("chain", "draw", "observation")
    assert found.sizes["observation"] == sum(SIZES)
    assert "truth[20]" in sampled.summary().index
    assert sampled.diagnose().max_rhat.value < 1.03


@pytest.mark.parametrize("phi", [bm.Laplace(), bm.Mode(), bm.GradientSteps(), bm.Amortised()])
def test_what_goes_task_by_task_refuses_them(phi: bm.Phi) -> None:
    with pytest.raises(bm.StructureError, match=r"'truth' is a latent in the plate 'data'.*Joint"):
        bm.fit(measured, TASKS, theta=bm.Point(), phi=phi, progress=False)


@pytest.mark.slow
def test_overdispersed_counts_are_gamma_poisson() -> None:
    y = torch.from_numpy(RANDOM.poisson(RANDOM.gamma(2.0, 1.5, (10, 6)))).double()
    tasks = bm.Tasks.from_arrays(y)

    def rates(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 0.3))
            with pyro.plate("data", tasks.num_data, dim=-1):
                rate = pyro.sample("rate", dist.Gamma(2.0, 2 * torch.exp(-phi)))
                pyro.sample("y", dist.Poisson(rate), obs=tasks.y)

    def counts(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 0.3))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.GammaPoisson(2.0, 2 * torch.exp(-phi)), obs=tasks.y)

    with_rates, without = (bm.fit(m, tasks, theta=FAST, progress=False) for m in (rates, counts))
    for found, right in (
        (with_rates.theta["mu"], without.theta["mu"]),
        (with_rates.phi["phi"], without.phi["phi"]),
    ):
        sd = right.std((0, 1))
        assert ((found.mean((0, 1)) - right.mean((0, 1))) / sd).abs().max() < 0.2
        assert (found.std((0, 1)) / sd - 1).abs().max() < 0.15
    mean = (2 + y) / (2 * torch.exp(-without.phi["phi"]).mean((0, 1))[:, None] + 1)
    assert torch.allclose(with_rates.phi["rate"].mean((0, 1)), mean, rtol=0.1)


@pytest.mark.slow
def test_a_covariate_that_is_missing_is_a_latent_where_it_is() -> None:
    x = RANDOM.normal(size=(8, 6))
    y = 1 + 0.8 * x + RANDOM.normal(scale=0.4, size=x.shape)
    known = RANDOM.random(x.shape) < 0.7
    columns = {"x": torch.from_numpy(np.where(known, x, 0.0)), "known": torch.from_numpy(known)}
    tasks = bm.Tasks.from_arrays(torch.from_numpy(y), x=columns)

    def regression(tasks: bm.Tasks) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(1.0, 0.3))
            with pyro.plate("data", tasks.num_data, dim=-1):
                given, is_given = tasks.x["x"], tasks.x["known"].bool()
                x = pyro.sample("x", dist.Normal(0.0, 1.0), obs=given, obs_mask=is_given)
                pyro.sample("y", dist.Normal(phi + slope * x, 0.4), obs=tasks.y)

    def without(tasks: bm.Tasks) -> None:
        slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(1.0, 0.3))
            with pyro.plate("data", tasks.num_data, dim=-1):
                spread = (0.16 + slope**2).sqrt()
                sd = torch.where(tasks.x["known"].bool(), 0.4, spread)
                pyro.sample("y", dist.Normal(phi + slope * tasks.x["x"], sd), obs=tasks.y)

    post, right = (
        bm.fit(m, tasks, theta=FAST, progress=False).theta["slope"] for m in (regression, without)
    )
    assert abs(post.mean() - right.mean()) < 0.2 * right.std()
    assert abs(post.std() / right.std() - 1) < 0.15
    found = bm.fit(
        regression, tasks, theta=bm.NUTS(chains=1, tune=20, draws=10, compile=False), progress=False
    )
    hidden = found.phi["x_unobserved"]
    assert torch.equal(hidden.isnan()[0, 0], torch.from_numpy(known))
    assert torch.equal(
        found.phi["x"][0, 0][torch.from_numpy(known)], columns["x"][torch.from_numpy(known)]
    )


@pytest.mark.parametrize(("size", "noncentred"), [(0.2, ("off",)), (3.0, ())])
def test_they_are_noncentred_where_the_data_say_little(
    size: float, noncentred: tuple[str, ...]
) -> None:
    noise = 1.0
    y = torch.from_numpy(RANDOM.normal(scale=np.hypot(size, noise), size=(30, 4)))

    def model(tasks: bm.Tasks) -> None:
        sd = pyro.sample("sd", dist.HalfNormal(size))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 0.1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                off = pyro.sample("off", dist.Normal(phi, sd))
                pyro.sample("y", dist.Normal(off, noise), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(y)
    nuts = bm.NUTS(chains=1, tune=20, draws=10, compile=False)
    post = bm.fit(model, tasks, theta=nuts, progress=False)
    assert post.density.noncentred == noncentred


@pytest.mark.parametrize("walks", [True, False])
def test_new_rows_of_a_walk_are_refused(walks: bool) -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                step = pyro.sample("step", dist.Normal(0.0, 1.0))
                off = step.cumsum(-1) if walks else step
                pyro.sample("y", dist.Normal(phi + off, 0.5), obs=tasks.y)

    tasks = bm.Tasks.from_arrays([[0.5, 1.0, 2.0], [0.0, -1.0, -1.5]], names="ab")
    post = bm.fit(model, tasks, theta=bm.Point(), progress=False)
    assert post.predict().mean.shape == (2, 3)
    query = bm.Tasks.from_arrays([[3.0], [-2.0]], names="ab")
    if not walks:
        assert post.predict(query).mean.shape == (2, 1)
        return
    with pytest.raises(bm.TasksError, match="'y' of a row depends on latents of other rows"):
        post.predict(query)


def test_noise_of_new_rows_is_not_that_of_their_latents(sampled: bm.Posterior) -> None:
    query = bm.Tasks.from_list([y[:1] for y in Y], names=list("abcdef")).to(dtype=torch.float64)
    predicted = sampled.predict(query)
    noise = (predicted.draws - predicted.means)[:, :, :, 0].flatten()
    latent = (predicted.means[..., 0] - sampled.phi["phi"]).flatten()
    assert abs(torch.corrcoef(torch.stack([noise, latent]))[0, 1]) < 0.05
    assert torch.allclose(predicted.draws.flatten(0, 1).std(0), predicted.sd, rtol=0.1)


def test_a_gaussian_of_them_is_never_called_right() -> None:
    post = bm.fit(measured, TASKS, theta=bm.Gaussian(adam=bm.Adam(steps=50)), progress=False)
    assert "is too sure of scales, by factors of 2 to 5" in str(post.diagnose())
