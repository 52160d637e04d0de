"""Encoders: a set has no order and no padding, and an empty one is a set too."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.amortisation.encoders import Encoder

ENCODERS = [
    bm.DeepSet(12, width=8),
    bm.Attentive(12, width=8, heads=3),
    bm.SetTransformer(12, slots=3, width=8, heads=2),
    bm.Convolutional(2 * 8**2, grid=8, width=4),
]
MASK = torch.tensor([[True] * 4, [True, True, False, False], [False] * 4])
ROWS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
every_encoder = pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)


def encode(encoder: Encoder, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return encoder([w.double() for w in encoder.start(5)], rows, mask)


@every_encoder
def test_order_and_padding_do_not_matter(encoder: Encoder) -> None:
    found = encode(encoder, ROWS, MASK)
    assert found.shape == (3, encoder.features)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(encode(encoder, ROWS[:, order], MASK[:, order]), found, atol=1e-12)
    filled = torch.where(MASK[..., None], ROWS, 1e6)
    assert torch.allclose(encode(encoder, filled, MASK), found, atol=1e-12)
    # Negative control: a datapoint that counts does matter.
    assert not torch.allclose(encode(encoder, ROWS + 0.1, MASK)[:2], found[:2], atol=1e-4)


@every_encoder
def test_an_empty_task_is_zero(encoder: Encoder) -> None:
    assert not encode(encoder, ROWS, MASK)[2].any()


@every_encoder
def test_gradients_are_finite_with_an_empty_task(encoder: Encoder) -> None:
    weights = [w.double().requires_grad_() for w in encoder.start(5)]
    gradients = torch.autograd.grad(encoder(weights, ROWS, MASK).square().sum(), weights)
    assert all(torch.isfinite(g).all() for g in gradients)


def test_features_must_divide_among_heads() -> None:
    with pytest.raises(ValueError, match="features=10 and heads=4"):
        bm.Attentive(10, heads=4)
    with pytest.raises(ValueError, match="features must be a multiple of slots"):
        bm.SetTransformer(10, slots=4)


@pytest.mark.parametrize("places", [1, 2])
def test_what_is_moved_by_whole_cells_is_read_alike(places: int) -> None:
    """By a multiple of 4 nodes, as the U-Net halves twice; compared away from the borders."""
    grid = 96
    encoder = bm.Convolutional(2 * grid**places, places, grid, reach=1.0, width=4)
    generator = torch.Generator().manual_seed(1)
    x = 0.2 * torch.rand(1, 6, places, generator=generator, dtype=torch.float64)
    y = torch.randn(1, 6, 1, generator=generator, dtype=torch.float64)
    step = 8 * 2 / (grid - 1)
    weights = [w.double() for w in encoder.start(places + 1)]
    mask = torch.ones(1, 6, dtype=torch.bool)
    found, moved = (
        encoder(weights, torch.cat([x + s, y], -1), mask).view(2, *[grid] * places)
        for s in (0.0, -step)
    )
    inner = (slice(None), *[slice(32, 64)] * places)
    shifted = found.roll([-8] * places, list(range(1, places + 1)))
    assert torch.allclose(shifted[inner], moved[inner], atol=1e-10)
    # Negative control: the maps are not the same everywhere, and did move.
    assert not torch.allclose(found[inner], moved[inner], atol=1e-3)


def test_a_node_holds_what_lies_on_it() -> None:
    """Weights fall linearly to 0 at the next node, and sum to 1 in between."""
    from bayesmeta.nets.grid import nearness

    found = nearness(torch.tensor([-2.0, 0.0, 0.25, 2.0, 2.7]), grid=9, reach=2.0)
    assert torch.equal(found[0], torch.eye(9)[0]) and torch.equal(found[1], torch.eye(9)[4])
    assert torch.allclose(found[2, 4:6], torch.tensor([0.5, 0.5])) and found[2].sum() == 1
    assert torch.equal(found[3], torch.eye(9)[8]) and not found[4].any()


def test_a_grid_must_be_halved_twice_and_carry_whole_maps() -> None:
    for wrong in ({"grid": 30}, {"features": 100}, {"dims": 3}):
        with pytest.raises(ValueError, match="grid a multiple of 4"):
            bm.Convolutional(**wrong)
