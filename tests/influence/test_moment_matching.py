"""Draws that are moved have the weights of a target that they were far from."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import MultivariateNormal

from bayesmeta.influence.moment_matching import Weighed, matched

BASE = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
TURNED = torch.tensor([[1.0, 0.85], [0.85, 1.0]]).double()
TARGETS = {
    "shifted": MultivariateNormal(torch.tensor([2.5, -1.0]).double(), torch.eye(2).double()),
    "wider": MultivariateNormal(torch.zeros(2).double(), 4 * torch.eye(2).double()),
    "turned": MultivariateNormal(torch.tensor([1.0, 0.0]).double(), 3 * TURNED),
}


@pytest.mark.parametrize("unit", [1e-4, 1e4])
@pytest.mark.parametrize("kind", TARGETS)
def test_moments_are_those_of_the_target(kind: str, unit: float) -> None:
    target = TARGETS[kind]
    torch.manual_seed(0)
    draws = unit * BASE.sample((8000,))

    def log_p(at: torch.Tensor) -> torch.Tensor:
        return target.log_prob(at / unit)

    before = Weighed.of(log_p, draws, BASE.log_prob(draws / unit))
    found = matched(log_p, draws, BASE.log_prob(draws / unit), 0.1)
    assert before.k > 0.5 and found.k < 0.3
    assert abs(found.log_mean) < 0.02
    weights = found.log_weights.exp()
    mean = weights @ found.at / unit
    covariance = (found.at / unit - mean).mT @ (weights[:, None] * (found.at / unit - mean))
    assert torch.allclose(mean, target.mean, atol=0.15)
    assert torch.allclose(covariance, target.covariance_matrix, atol=0.35)


def test_weights_that_are_to_be_trusted_move_nothing() -> None:
    torch.manual_seed(0)
    draws = BASE.sample((2000,))
    found = matched(BASE.log_prob, draws, BASE.log_prob(draws) + 0.01 * draws[:, 0], 0.7)
    assert torch.equal(found.at, draws)
