"""Linear and logistic regression: the simulated data have the moments of their truth."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from bayesmeta.models import linear_regression, logistic_regression

both = pytest.mark.parametrize("module", [linear_regression, logistic_regression])


@both
def test_weights_have_the_truths_moments(module: ModuleType) -> None:
    truth = module.truth(num_tasks=5000, seed=2)
    error = truth["tau"] / 5000**0.5
    assert ((truth["w"].mean(0) - truth["mu"]).abs() < 4 * error).all()
    assert ((truth["w"].std(0) - truth["tau"]).abs() < 4 * error / 2**0.5).all()


@both
def test_shared_truth_does_not_depend_on_the_number_of_tasks(module: ModuleType) -> None:
    few, many = module.truth(num_tasks=3), module.truth(num_tasks=300)
    assert torch.equal(few["mu"], many["mu"]) and torch.equal(few["tau"], many["tau"])
    assert few["w"].shape == (3, 5) and few["mu"].dtype == torch.float64


@both
def test_shapes_and_seeds(module: ModuleType) -> None:
    tasks = module.tasks(num_tasks=7, num_data=4, num_features=3)
    assert tasks.x["features"].shape == (7, 4, 3) and tasks.y.shape == (7, 4)
    assert tasks.dtype == torch.float64
    again, other = (module.tasks(7, 4, 3, seed=seed) for seed in (0, 1))
    assert torch.equal(tasks.y, again.y)
    assert not torch.equal(tasks.x["features"], other.x["features"])


@both
def test_features_are_standard_normal(module: ModuleType) -> None:
    features = module.tasks(num_tasks=500, num_data=20).x["features"]
    assert abs(float(features.mean())) < 4 / features.numel() ** 0.5
    assert abs(float(features.std()) - 1) < 4 / (2 * features.numel()) ** 0.5


def test_linear_residuals_are_the_noise() -> None:
    tasks = linear_regression.tasks(num_tasks=500, num_data=20)
    truth = linear_regression.truth(num_tasks=500)
    residual = tasks.y - (tasks.x["features"] * truth["w"][:, None]).sum(-1)
    error = float(truth["sigma"]) / residual.numel() ** 0.5
    assert abs(float(residual.mean())) < 4 * error
    assert abs(float(residual.std() - truth["sigma"])) < 4 * error / 2**0.5


def test_logistic_score_is_zero_at_the_truth() -> None:
    """E[x (y - p)] = 0 at the weights that made y, whose variance is E[x^2 p (1 - p)]."""
    tasks = logistic_regression.tasks(num_tasks=2000, num_data=20)
    truth = logistic_regression.truth(num_tasks=2000)
    features = tasks.x["features"]
    p = (features * truth["w"][:, None]).sum(-1).sigmoid()
    score = (features * (tasks.y - p)[..., None]).sum((0, 1))
    error = (features**2 * (p * (1 - p))[..., None]).sum((0, 1)).sqrt()
    assert ((score / error).abs() < 4).all()


def test_logistic_default_is_the_benchmark() -> None:
    tasks = logistic_regression.tasks()
    assert tasks.x["features"].shape == (200, 20, 5)
    assert set(tasks.y.unique().tolist()) == {0.0, 1.0}
