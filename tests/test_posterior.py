"""Posterior: prediction, adaptation, scores, and errors that say what to do."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.density import Density
from bayesmeta.models import eight_schools, normal_means

F64 = torch.float64


@pytest.fixture(scope="module")
def post():
    tasks = normal_means.tasks(num_tasks=6, num_data=4, seed=0)
    theta = bm.Gaussian(draws=4000, adam=bm.Adam(compile=False))
    return bm.fit(normal_means.model, tasks, theta=theta, progress=False)


def test_prediction_has_the_closed_forms_mean_and_sd(post):
    """y_new | D ~ N(E phi_i, Var phi_i + sigma^2)."""
    exact = normal_means.exact(post.tasks)
    prediction = post.predict()
    real = post.tasks.mask
    mean = exact.mean[1:, None].expand(real.shape)[real]
    sd = (exact.sd[1:] ** 2 + normal_means.SIGMA**2).sqrt()[:, None].expand(real.shape)[real]
    assert ((prediction.mean[real] - mean).abs() / sd).max() < 0.05
    assert (prediction.sd[real] / sd - 1).abs().max() < 0.06
    z = 1.6448536
    assert ((prediction.quantile(0.95)[real] - (mean + z * sd)).abs() / sd).max() < 0.15


def test_log_score_is_the_predictive_density(post):
    exact = normal_means.exact(post.tasks)
    sd = (exact.sd[1:] ** 2 + normal_means.SIGMA**2).sqrt()[:, None]
    expected = torch.distributions.Normal(exact.mean[1:, None], sd).log_prob(post.tasks.y)
    real = post.tasks.mask
    assert (post.log_score(post.tasks)[real] - expected[real]).abs().max() < 0.05


def test_more_data_move_a_new_task_from_the_prior_to_its_mean(post):
    y = torch.full((1, 50), 6.0, dtype=F64)
    sds, means = [], []
    for shots in (0, 1, 5, 50):
        task = bm.Tasks.from_arrays(y, mask=torch.arange(50)[None] < shots, names=["new"])
        draws = post.adapt(task).phi["phi"].flatten()
        means.append(draws.mean().item())
        sds.append(draws.std().item())
    assert sds == sorted(sds, reverse=True)
    assert means == sorted(means) and means[-1] == pytest.approx(6.0, abs=0.1)


def test_prior_predictive_has_the_priors_moments():
    tasks = normal_means.tasks(num_tasks=4, num_data=3, seed=0, ragged=False)
    prior = bm.prior(normal_means.model, tasks, draws=4000)
    assert prior.theta["mu"].std() == pytest.approx(normal_means.MU_SD, rel=0.06)
    sd = (normal_means.MU_SD**2 + normal_means.TAU**2 + normal_means.SIGMA**2) ** 0.5
    assert prior.predict().draws.std() == pytest.approx(sd, rel=0.06)


def test_predicting_for_other_tasks_says_to_adapt_first(post):
    other = bm.Tasks.from_arrays(torch.zeros(1, 2), names=["new"])
    with pytest.raises(bm.TasksError, match=r"'new'.*adapt"):
        post.predict(other)


def test_adapting_without_y_says_what_to_give(post):
    with pytest.raises(bm.StructureError, match="without y"):
        post.adapt(post.tasks.without_y())


def test_a_noncentred_fit_predicts_as_the_centred_one():
    tasks = eight_schools.tasks()
    theta = bm.Gaussian(noncentred=("effect",), draws=500, adam=bm.Adam(steps=300, compile=False))
    post = bm.fit(eight_schools.model, tasks, theta=theta, progress=False)
    values = post.log_likelihood()[0, :, :, 0]
    expected = torch.distributions.Normal(post.phi["effect"][0], tasks.x["sigma"][:, 0]).log_prob(
        tasks.y[:, 0]
    )
    assert torch.allclose(values, expected)
    assert torch.allclose(post.predict().mean[:, 0], post.phi["effect"].mean((0, 1)))


def test_a_noncentred_fit_scores_a_new_task():
    """Adapting centres the density; making that density draws, which no captured graph may."""
    theta = bm.Gaussian(noncentred=("effect",), draws=50, adam=bm.Adam(steps=50, compile=False))
    post = bm.fit(eight_schools.model, eight_schools.tasks(), theta=theta, progress=False)
    new = eight_schools.tasks()[:2]
    assert torch.isfinite(post.adapt(new).log_score(new)).all()


def test_a_posteriors_noise_is_none_of_its_fits():
    tasks = normal_means.tasks(num_tasks=3, num_data=2, seed=0, ragged=False)
    theta = bm.Gaussian(draws=4000, adam=bm.Adam(steps=50, compile=False))
    post = bm.fit(normal_means.model, tasks, theta=theta, progress=False)
    noise = (post.predict().draws - post.predict().means).reshape(4000, -1)
    both = torch.cat([post.theta["mu"].reshape(-1, 1), post.phi["phi"][0], noise], 1)
    across = torch.corrcoef(both.T)[:4, 4:]
    assert across.abs().max() < 4.5 / 4000**0.5


def test_predictions_are_drawn_for_many_draws_at_once(monkeypatch, post):
    """Not one model run a draw, which is ten times slower."""
    runs, predict = [], Density.predict

    def counted(self, *args):
        runs.append(1)
        return predict(self, *args)

    monkeypatch.setattr(Density, "predict", counted)
    post.predict()
    assert len(runs) < 100


def test_outcomes_whose_sampler_does_not_run_under_vmap_are_predicted_too():
    def counts(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            rate = pyro.sample("rate", dist.Gamma(2.0, torch.exp(-mu)))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Poisson(rate), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.tensor([[3.0, 4.0, 2.0], [9.0, 11.0, 10.0]], dtype=F64))
    theta = bm.Gaussian(draws=2000, adam=bm.Adam(lr=0.05, steps=1500, compile=False))
    post = bm.fit(counts, tasks, theta=theta, progress=False)
    mean = post.predict().mean
    assert mean[0, 0] == pytest.approx(3.2, abs=0.7) and mean[1, 0] == pytest.approx(9.5, abs=1.2)
    assert (post.predict().draws == post.predict().draws.round()).all()


def test_the_callers_random_state_and_parameter_store_are_left_alone(post):
    pyro.get_param_store().clear()
    pyro.param("mine", torch.tensor(1.0))
    before = torch.random.get_rng_state()
    post.adapt(post.tasks)
    post.predict()
    assert torch.equal(before, torch.random.get_rng_state())
    assert list(pyro.get_param_store().keys()) == ["mine"]
    pyro.get_param_store().clear()
