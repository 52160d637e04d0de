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
    assert (read.theta, read.phi, read.data) == (("theta",), ("z",), ("y",))


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
