"""The split t: its density is that of its draws, also at modes that lean and stretch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bayesmeta.engine.split_t import SplitT

TWO = SplitT(
    torch.tensor([1.0, -2.0], dtype=torch.float64),
    torch.tensor([[1.0, 0.0], [0.7, 0.5]], dtype=torch.float64),
    torch.tensor([2.0, 0.5], dtype=torch.float64),
    torch.tensor([0.5, 1.5], dtype=torch.float64),
)


@pytest.mark.parametrize("corner", [[0.0, 0.0], [2.0, 0.5], [-1.0, -1.5]])
def test_draws_have_its_density(corner: list[float]) -> None:
    """The mean of n(x) / q(x) over draws of q is the mass of n, wherever that is: one."""
    draws = TWO.draw(400_000, torch.Generator().manual_seed(0))
    normal = torch.distributions.Normal(TWO.centre + torch.tensor(corner), 0.7)
    ratio = (normal.log_prob(draws).sum(1) - TWO.log_prob(draws)).exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * float(ratio.std()) / len(draws) ** 0.5)
    assert float(ratio.std()) < 5


def log_p(x: Tensor) -> Tensor:
    """A normal of sd 1/2 beside log tau for tau half-normal: a long tail to the left."""
    u, v = x.T
    return u - 0.5 * (2 * u).exp() - 2 * (v - 0.6 * u).square()


def test_at_a_mode_it_has_its_tails_and_of_draws_their_moments() -> None:
    mode = torch.zeros(2, dtype=torch.float64)
    precision = torch.tensor([[2.0 + 1.44, -2.4], [-2.4, 4.0]], dtype=torch.float64)
    found = SplitT.at_mode(log_p, mode, log_p(mode[None])[0], precision)
    assert found.down[0] > 1.3 * found.up[0], "the left side of the first axis has the long tail"
    draws = found.draw(20_000, torch.Generator().manual_seed(0))
    weights = (log_p(draws) - found.log_prob(draws)).softmax(0)
    assert 1 / float(weights.square().sum()) > 0.7 * len(draws)
    # E log of a half-normal number of scale 1: -(Euler's constant + log 2) / 2.
    assert float(weights @ draws[:, 0]) == pytest.approx(-0.635, abs=0.03)
    of_draws = SplitT.of_draws(draws, weights)
    assert torch.allclose(of_draws.centre, weights @ draws)
    again = of_draws.draw(20_000, torch.Generator().manual_seed(1))
    weights = (log_p(again) - of_draws.log_prob(again)).softmax(0)
    assert float(weights @ again[:, 0]) == pytest.approx(-0.635, abs=0.03)
    assert 1 / float(weights.square().sum()) > 0.7 * len(again)
