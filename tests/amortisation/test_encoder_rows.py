"""Rows in units of median and quartiles: one wrong row changes none, and is read as far out."""

from __future__ import annotations

import torch

import bayesmeta as bm
from bayesmeta.amortisation.encoder_rows import in_units, rows_of, units_of

GENERATOR = torch.Generator().manual_seed(0)
X = 3 + 2 * torch.randn(200, 10, generator=GENERATOR)
Y = -1 + 0.5 * torch.randn(200, 10, generator=GENERATOR)


def units(x: torch.Tensor, y: torch.Tensor = Y) -> torch.Tensor:
    return units_of([bm.Tasks.from_arrays(y, {"x": x})], ())


def test_normal_numbers_have_their_mean_and_sd() -> None:
    found = units(X)
    torch.testing.assert_close(found[0], torch.tensor([3.0, -1.0]), rtol=0, atol=0.1)
    torch.testing.assert_close(found[1], torch.tensor([2.0, 0.5]), rtol=0.05, atol=0)


def test_a_wrong_row_changes_nothing() -> None:
    wrong = X.clone()
    wrong[0, 0] = 1e6
    torch.testing.assert_close(units(wrong), units(X), rtol=1e-2, atol=1e-2)
    # Negative control: the sd is another.
    assert wrong.std() > 1000 * X.std()


def test_constants_and_rare_numbers_have_a_unit() -> None:
    rare = torch.zeros(200, 10)
    rare[:10] = 7.0
    found = units(torch.full((200, 10), 0.1), rare)
    assert found[1, 0] == 1.0
    torch.testing.assert_close(found[1, 1], rare.std(correction=0))


def test_far_numbers_are_read_by_their_logarithm_and_places_as_they_are() -> None:
    rows = torch.tensor([[[-8.0, 0.5], [4.0, 5.0], [2.0, 6.0], [1e6, -1e6]]])
    found = in_units(rows, torch.tensor([[1.0, 0.0], [2.0, 1.0]]), places=1)
    torch.testing.assert_close(found[..., 0], rows[..., 0])
    far = 5 + torch.tensor(1e6 - 4).log()
    right = torch.tensor([[0.5, 5.0, 5 + torch.tensor(2.0).log(), -far]])
    torch.testing.assert_close(found[..., 1], right)


def test_no_rows_have_units_all_the_same() -> None:
    empty = bm.Tasks.from_list([[], []], {"x": [[], []]})
    assert torch.equal(units_of([empty], ()), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert rows_of(empty, ()).shape[-1] == 2
