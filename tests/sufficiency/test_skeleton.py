"""Few rows tell all rows of a matrix of low rank, and none is found where there is no such rank."""

from __future__ import annotations

import pytest
import torch

from bayesmeta.sufficiency.skeleton import skeleton

TASKS, DATA, COLUMNS = 4, 30, 20


def matrices(rank: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """V (tasks, data, columns) of a rank, in columns of very different size, and which rows are."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    sizes = 10 ** (6 * torch.rand(COLUMNS, generator=generator, dtype=torch.float64) - 3)
    values = normal(TASKS, DATA, rank) @ normal(TASKS, rank, COLUMNS) * sizes
    mask = torch.arange(DATA) < torch.tensor([[DATA], [rank], [1], [0]])
    return values, mask


@pytest.mark.parametrize("rank", [1, 3, 10])
def test_all_rows_are_sums_of_the_chosen_ones(rank: int) -> None:
    values, mask = matrices(rank)
    found = skeleton(values, mask)
    assert found is not None
    assert found.rows.shape == (TASKS, rank)
    chosen = values[torch.arange(TASKS)[:, None], found.rows]
    size = values.abs().amax(1, keepdim=True)
    off = (found.weights @ chosen - values) / size
    assert float(off[mask].abs().max()) < 1e-9
    assert not found.weights[~mask].any()


def test_no_rows_do_where_the_rank_is_that_of_the_columns() -> None:
    values, mask = matrices(COLUMNS)
    assert skeleton(values, mask) is None


def test_a_small_part_of_another_rank_is_seen() -> None:
    values, mask = matrices(3)
    values = values + 1e-7 * values.abs().amax(1, keepdim=True) * matrices(1, seed=1)[0].sign()
    found = skeleton(values, mask)
    assert found is not None
    assert found.rows.shape[1] > 3
