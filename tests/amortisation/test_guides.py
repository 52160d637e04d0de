"""Guides: draws and log density agree, and without data both are the prior's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.amortisation.guides import Anchor, Guide, TaskPosterior

NORMALS = [bm.FullNormal(), bm.DiagonalNormal()]
GUIDES = [*NORMALS, bm.SplineFlow()]


def name(guide: Guide) -> str:
    return type(guide).__name__


every_guide = pytest.mark.parametrize("guide", GUIDES, ids=name)


@pytest.mark.parametrize("guide", NORMALS, ids=name)
def test_log_prob_is_the_normal_of_the_draws(guide: Guide) -> None:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    numbers, count = 0.5 * normal(2, guide.numbers(3)), torch.tensor([[4.0], [0.0]]).double()
    anchor = Anchor(normal(2, 3), normal(2, 3).exp())
    draws = guide.draw(guide.start(3), numbers, count, anchor, normal(200_000, 2, 3))
    mean, covariance = draws.mean(0), torch.stack([draws[:, i].T.cov() for i in range(2)])
    expected = torch.distributions.MultivariateNormal(mean, covariance).log_prob(draws[:50])
    assert torch.allclose(
        guide.log_prob(guide.start(3), numbers, count, anchor, draws[:50]), expected, atol=0.05
    )
    assert torch.allclose(covariance[1].diagonal().sqrt(), anchor.sd[1], rtol=0.02)


@every_guide
def test_numbers_however_large_give_a_normal(guide: Guide) -> None:
    """A network far from its training data must not end in an error or NaN."""
    numbers = 1e4 * torch.randn(5, guide.numbers(3), generator=torch.Generator().manual_seed(0))
    anchor = Anchor(torch.zeros(5, 3), torch.ones(5, 3))
    phi = guide.draw(
        guide.start(3), numbers, torch.full((5, 1), 20.0), anchor, torch.zeros(2, 5, 3)
    )
    assert torch.isfinite(phi).all()
    assert torch.isfinite(
        guide.log_prob(guide.start(3), numbers, torch.full((5, 1), 20.0), anchor, phi)
    ).all()


def test_units_shift_and_stretch() -> None:
    guide, zero = bm.DiagonalNormal(), torch.zeros(1, 4, dtype=torch.float64)
    anchor = Anchor(zero[:, :2], zero[:, :2] + 1)
    units = torch.tensor([3.0, -1.0]).double(), torch.tensor([2.0, 0.5]).double()
    q = TaskPosterior(guide, (), zero, zero[:, :1], anchor, *units, *units)
    phi = torch.tensor([[[4.0, 0.5]]]).double()
    expected = torch.distributions.Normal(*units).log_prob(phi).sum(-1)
    assert torch.allclose(q.log_prob(phi), expected)
    assert torch.allclose(q.draw(torch.ones(1, 1, 2).double()), sum(units))
