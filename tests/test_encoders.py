"""Encoders: a set has no order and no padding, and an empty one is a set too."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.encoders import Encoder

ENCODERS = [
    bm.DeepSet(12, width=8),
    bm.Attentive(12, width=8, heads=3),
    bm.SetTransformer(12, slots=3, width=8, heads=2),
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
