"""Heads with closed forms: ridge regression of labels, and a Bayesian last layer on waves."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.model.reading import read
from bayesmeta.models import few_shot_classifier, last_layer, omniglot, ridge
from bayesmeta.nets.net import Net

TEST = omniglot.classes(omniglot.Split.TEST)


def test_the_mode_of_the_ridge_head_is_ridge_regression() -> None:
    episodes = ridge.onehot(TEST.episodes(3, ways=3, shots=2, queries=1), 3)
    episodes = episodes.to(dtype=torch.float64)
    model = ridge.ridge(3, filters=8)
    density = Density(read(model, episodes))
    bm.Exact().check(density, episodes)
    theta = theta_start(density, episodes)
    mode = bm.Mode(bm.GaussNewton())
    (found,) = mode.infer(density, theta[None], episodes, torch.Generator(), is_point=True)
    embed = Net(nn.Sequential(*few_shot_classifier.features(8)).double())
    values = density.constrain(theta, found, episodes)
    z = embed(values["theta"], episodes.x["image"])
    gain, level, sigma = (values[name] for name in ("gain", "level", "sigma"))
    one = torch.eye(32, dtype=torch.float64) * 32 * sigma**2 / gain**2
    for i in range(3):
        expected = torch.linalg.solve(z[i].T @ z[i] + one, z[i].T @ (episodes.y[i] - level)) / gain
        torch.testing.assert_close(values["weights"][i], expected.T, rtol=1e-6, atol=1e-8)


def test_the_evidence_of_the_ridge_head_is_the_multivariate_normal() -> None:
    episodes = ridge.onehot(TEST.episodes(2, ways=3, shots=2, queries=1), 3)
    episodes = episodes.to(dtype=torch.float64)
    model = ridge.ridge(3, filters=32)
    support = bm.Tasks.from_arrays(episodes.y, {"image": episodes.x["image"]})
    density = Density(read(model, support))
    assert density.d_phi == 3 * 128
    theta = theta_start(density, support)
    found = bm.Exact().log_evidence(density, theta, support)
    values = density.constrain(theta, prior_mean(density, theta, support), support)
    embed = Net(nn.Sequential(*few_shot_classifier.features(32)).double())
    z = embed(values["theta"], support.x["image"])
    gain, level, sigma = (values[name] for name in ("gain", "level", "sigma"))
    one = torch.eye(6, dtype=torch.float64)
    for i in range(2):
        covariance = gain**2 * z[i] @ z[i].T / 128 + sigma**2 * one
        normal = torch.distributions.MultivariateNormal(level.expand(6), covariance)
        expected = normal.log_prob(support.y[i].T).sum()
        torch.testing.assert_close(found[i], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
def test_a_last_layer_learns_waves() -> None:
    tasks, query = last_layer.tasks(500, 20).to(dtype=torch.float64).split(10)
    new, unseen = last_layer.tasks(50, 30, seed=1).to(dtype=torch.float64).split(10)
    errors = []
    for steps in (1, 300):
        adam = bm.Adam(lr=5e-3, steps=steps, patience=0, compile=False)
        pair = bm.ALPaCA(draws=20, batch_size=25, adam=adam)
        post = bm.fit(last_layer.model, tasks, query=query, progress=False, **pair)
        adapted = post.adapt(new, phi=bm.Mode())
        errors.append(float((adapted.predict(unseen).mean - unseen.y).square().mean()))
    assert errors[1] < 0.5 * errors[0] and errors[1] < 0.3


@pytest.mark.slow
def test_five_points_tell_a_wave_without_noise() -> None:
    """sin and cos span the waves, so that a last layer of few features can be all but exact."""
    tasks = last_layer.tasks(20_000, 10).to(dtype=torch.float64)
    new, unseen = last_layer.tasks(1000, 55, seed=1).to(dtype=torch.float64).split(5)
    errors = []
    for steps in (4000, 100):
        adam = bm.Adam(lr=3e-3, steps=steps, decay=0.6, patience=0)
        pair = bm.ALPaCA(draws=2, batch_size=50, adam=adam)
        post = bm.fit(last_layer.model, tasks, progress=False, **pair)
        found = post.adapt(new, phi=bm.Mode()).predict(unseen).mean
        errors.append(float((found - unseen.y).square().mean()))
    assert errors[0] < 1e-4 < 1e-2 < errors[1]
