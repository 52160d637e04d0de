"""neural_process: the data's exact predictive, and that training comes nearer to it."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

import bayesmeta as bm
from bayesmeta.models import neural_process

UNSEEN = neural_process.tasks(100, shots=20, seed=1)


def test_the_exact_score_is_a_ratio_of_multivariate_normals() -> None:
    support = neural_process.tasks(3, shots=6, queries=1, seed=2)
    found = neural_process.exact_log_score(support)

    def log_density(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        noise = neural_process.NOISE**2 * torch.eye(len(y), dtype=torch.float64)
        k = neural_process.covariance(x[None], x[None])[0] + noise
        return MultivariateNormal(torch.zeros(len(y), dtype=torch.float64), k).log_prob(y)

    for i in range(3):
        real = support.mask[i]
        x, y = support.x["x"][i][real].double(), support.y[i][real].double()
        more = torch.cat([x, support.query.x["x"][i].double()])
        both = torch.cat([y, support.query.y[i].double()])
        expected = log_density(more, both) - log_density(x, y)
        assert torch.allclose(found[i, 0], expected, atol=1e-8)


def test_the_model_is_read() -> None:
    read = bm.structure(neural_process.model, UNSEEN)
    assert (read.theta, read.phi, read.data) == (("theta", "units"), ("z",), ("y",))


@pytest.mark.parametrize("preset", [bm.NeuralProcess, bm.ConditionalNeuralProcess])
def test_training_comes_nearer_to_the_exact_predictive(preset) -> None:
    train = neural_process.tasks(2000, shots=20, queries=20)
    exact = neural_process.exact_log_score(UNSEEN).mean()
    scores = []
    for steps in (1, 200):
        adam = bm.Adam(lr=2e-3, steps=steps, patience=0, compile=False)
        pair = preset(batch_size=32, adam=adam)
        post = bm.fit(neural_process.model, train, **pair, progress=False)
        scores.append(post.adapt(UNSEEN).log_score(UNSEEN.query).mean())
    assert scores[0] + 0.15 < scores[1] < exact


def damped_waves(num_tasks: int, seed: int) -> bm.Tasks:
    """3 to 15 points of a damped wave each, and 25 others as query."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float, width: int = 1) -> torch.Tensor:
        return low + (high - low) * torch.rand(num_tasks, width, generator=generator)

    height, decay, rate, phase = uniform(0.5, 2), uniform(0.1, 1), uniform(2, 5), uniform(0, 6.28)
    x = uniform(0, 3, 40)
    y = height * (-decay * x).exp() * (rate * x + phase).sin()
    y += 0.05 * torch.randn(y.shape, generator=generator)
    mask = torch.arange(15) < torch.randint(3, 16, (num_tasks, 1), generator=generator)
    support = bm.Tasks.from_arrays(y[:, :15].float(), {"x": x[:, :15, None].float()}, mask)
    return support.with_query(
        bm.Tasks.from_arrays(y[:, 15:].float(), {"x": x[:, 15:, None].float()})
    )


@pytest.mark.slow
def test_training_leaves_the_plateau_where_all_functions_have_one_mean() -> None:
    train, unseen = damped_waves(4000, seed=0), damped_waves(200, seed=1)
    errors = []
    for steps in (50, 1500):
        adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False)
        pair = bm.ConditionalNeuralProcess(batch_size=32, adam=adam)
        model = neural_process.neural_process(latent=64, hidden=64)
        post = bm.fit(model, train, **pair, progress=False)
        mean = post.adapt(unseen).predict(unseen.query).mean
        errors.append((mean - unseen.query.y).square().mean().sqrt() / unseen.query.y.std())
    # After fifty steps it is still there: the negative control.
    assert errors[1] < 0.85 and errors[0] > 0.95


def test_queries_far_from_those_trained_on_are_told() -> None:
    train = neural_process.tasks(50, shots=8, queries=5)
    adam = bm.Adam(steps=3, compile=False)
    preset = bm.ConditionalNeuralProcess(adam=adam)
    post = bm.fit(neural_process.model, train, **preset, progress=False)
    new = neural_process.tasks(3, shots=8, queries=5, seed=1)
    adapted, query = post.adapt(new), new.query
    adapted.predict(query)
    x = query.x["x"] + torch.tensor([0.0, 0.0, 7.0])[:, None, None]
    far = bm.Tasks.from_arrays(query.y, {"x": x}, names=query.names)
    with pytest.warns(UserWarning, match=r"inputs of 1 of 3 tasks to predict .*2 \(x\['x'\] "):
        adapted.predict(far)
