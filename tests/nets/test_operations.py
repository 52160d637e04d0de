"""Operations in another form where it matters at single points: nothing to attend to, zero."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from bayesmeta.nets.operations import restated

F64 = torch.float64


@pytest.mark.parametrize("as_numbers", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_attention_reads_nothing_where_all_keys_are_padding(
    weights: bool, as_numbers: bool
) -> None:
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(6, 2, batch_first=True).to(F64)
    with torch.no_grad():
        layer.out_proj.bias.fill_(0.5)
    x = torch.randn(3, 4, 6, dtype=F64, requires_grad=True)
    away = torch.zeros(3, 4, dtype=torch.bool)
    away[1], away[2, 2:] = True, True
    mask = torch.zeros(3, 4, dtype=F64).masked_fill(away, -torch.inf) if as_numbers else away
    with restated():
        out, shares = layer(x, x, x, key_padding_mask=mask, need_weights=weights)
        alone, _ = layer(x[2:, :], x[2:, :2], x[2:, :2], need_weights=False)
    (slope,) = torch.autograd.grad(out.sin().sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.square().sum(), x)
    assert torch.equal(out[1], torch.full((4, 6), 0.5, dtype=F64))
    torch.testing.assert_close(out[2], alone[0])
    assert slope.isfinite().all() and bend.isfinite().all() and not slope[1].any()
    assert shares is None or not shares[1].any()


def test_similarity_and_distance_have_derivatives_at_zero() -> None:
    other = torch.tensor([1.0, 2.0, 3.0], dtype=F64)
    zero = torch.zeros(3, dtype=F64, requires_grad=True)

    def derivatives(value: Tensor) -> tuple[Tensor, Tensor]:
        (slope,) = torch.autograd.grad(value, zero, create_graph=True)
        return slope, torch.autograd.grad(slope.sum(), zero)[0]

    with restated():
        slope, bend = derivatives(functional.cosine_similarity(zero, other, dim=0))
        torch.testing.assert_close(slope, other / other.norm() / 1e-8)
        assert not bend.any()
        for p in (1.0, 2.0, 3.0):
            slope, bend = derivatives(
                torch.cdist(zero[None], torch.zeros(1, 3, dtype=F64), p)[0, 0]
            )
            assert not slope.any() and not bend.any()
    # Negative control: torch's own is no number there.
    assert derivatives(functional.cosine_similarity(zero, other, dim=0))[1].isnan().any()
    x = torch.randn(5, 3, dtype=F64)
    for p in (1.0, 2.0):
        with restated():
            ours = torch.cdist(x, x, p)
        theirs = torch.cdist(x, x, p, compute_mode="donot_use_mm_for_euclid_dist")
        torch.testing.assert_close(ours, theirs)


def test_bags_without_a_token_are_zero() -> None:
    table = torch.randn(4, 2, dtype=F64)
    tokens = torch.tensor([[0, 0, 0], [1, 0, 2]])
    for mode in ("mean", "sum", "max"):
        expected = functional.embedding_bag(tokens, table, mode=mode, padding_idx=0)
        with restated():
            found = functional.embedding_bag(tokens, table, mode=mode, padding_idx=0)
        torch.testing.assert_close(found, expected)
    with restated(), pytest.raises(ValueError, match="bags by offsets"):
        functional.embedding_bag(tokens.flatten(), table, torch.tensor([0, 3]))
