"""Posterior: prediction, adaptation, scores, and errors that say what to do."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model import outcomes
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


@pytest.mark.parametrize("ask", ["predict", "log_score", "log_likelihood"])
def test_a_query_that_is_none_is_not_taken_for_the_fits_own(post, ask):
    assert post.tasks.query is None
    with pytest.raises(TypeError, match="got None; tasks without a query have query=None"):
        getattr(post, ask)(post.tasks.query)


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
    runs, predict = [], outcomes.predict

    def counted(*args):
        runs.append(1)
        return predict(*args)

    monkeypatch.setattr(outcomes, "predict", counted)
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


def test_unnamed_tasks_made_apart_are_not_taken_for_the_fits_own():
    """Both are named by position, so that names alone would lend one the other's phi."""
    y = torch.randn(4, 3, dtype=F64)
    own, others = bm.Tasks.from_arrays(y), bm.Tasks.from_arrays(y + 100.0)
    theta = bm.Gaussian(adam=bm.Adam(steps=20, compile=False), draws=10, noncentred=())
    post = bm.fit(normal_means.model, own, theta=theta, progress=False)
    for refused in (post.predict, post.log_likelihood, post.log_score):
        with pytest.raises(bm.TasksError, match="made apart and have no names"):
            refused(others)
    same = bm.Tasks.from_arrays(y, names=own.names)
    assert torch.equal(post.log_score(same), post.log_score(own))
    support, query = own.split(1)
    assert post.predict(query).mean.shape == (4, 2) and support.origin is query.origin


def test_some_of_the_fits_tasks_are_predicted_as_among_all(post):
    some = post.tasks[[4, 1]]
    real, means = some.mask, post.predict().means[:, :, [4, 1]]
    assert torch.equal(post.predict(some).means[..., real], means[..., real])
    both = post.log_likelihood(some), post.log_likelihood()[:, :, [4, 1]]
    assert torch.equal(*both)


def test_a_point_estimate_predicts_with_the_models_own_spread():
    tasks = normal_means.tasks(num_tasks=4, num_data=4, seed=1, ragged=False)
    pair = bm.MAML(adam=bm.Adam(steps=20, compile=False))
    point = bm.fit(normal_means.model, tasks, **pair, progress=False)
    prediction = point.predict()
    assert torch.allclose(prediction.sd, torch.tensor(normal_means.SIGMA).to(prediction.sd))
    with pytest.raises(ValueError, match="repeats=1000"):
        prediction.quantile(0.9)
    with pytest.raises(ValueError, match=r"q=90; it takes probabilities between 0 and 1"):
        point.predict(repeats=2).quantile(90)
    many = point.predict(repeats=4000)
    z = (many.quantile(0.9) - many.mean) / many.sd
    assert many.draws.shape[:2] == (1, 4000) and (z - 1.2816).abs().max() < 0.12


def test_class_probabilities_are_the_mean_of_a_categorical_outcome():
    def model(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Categorical(logits=phi), obs=tasks.y)

    tasks = bm.Tasks.from_list([[0.0, 2.0, 2.0], [1.0]])
    drawn = bm.prior(model, tasks, draws=300)
    prediction = drawn.predict()
    assert prediction.mean.shape == (2, 3, 3) and prediction.draws.shape == (1, 300, 2, 3)
    expected = drawn.phi["phi"].softmax(-1).mean((0, 1))
    assert torch.allclose(prediction.mean[0, 0], expected[0], atol=1e-5)
    assert torch.isnan(prediction.mean[1, 1:]).all()
    shares = torch.stack([(prediction.draws[0, :, 0] == k).double().mean() for k in range(3)])
    assert (shares - expected[0]).abs().max() < 0.06


def test_padding_is_nan_in_scores_and_what_has_no_y_is_not_scored(post):
    assert torch.equal(torch.isnan(post.log_score()), ~post.tasks.mask)
    with pytest.raises(bm.TasksError, match="no y to score"):
        post.log_score(post.tasks.without_y())
    with pytest.raises(TypeError, match="DataFrame"):
        post.predict(pd.DataFrame())


def test_many_tasks_in_chunks_give_what_they_give_at_once(post, monkeypatch):
    at_once = post.log_likelihood(), post.predict().means, post.phi["phi"]
    monkeypatch.setattr("bayesmeta.data.tasks._NUMBERS_AT_ONCE", 20)
    assert len(post.tasks.chunks(1)) > 2
    again = replace(post, draws=replace(post.draws))
    for one, other in zip(
        at_once, (again.log_likelihood(), again.predict().means, again.phi["phi"]), strict=True
    ):
        assert torch.allclose(one, other, equal_nan=True)
