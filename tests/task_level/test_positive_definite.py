"""Precisions of low rank against the matrices that they are."""

from __future__ import annotations

import pytest
import torch

from bayesmeta.task_level.positive_definite import DensePrecision, LowRankPrecision, Precision


def example(m: int, d: int) -> LowRankPrecision:
    generator = torch.Generator().manual_seed(m + d)
    rows = torch.randn(2, 3, m, d, dtype=torch.float64, generator=generator)
    return LowRankPrecision(0.5 + torch.rand(2, 3, d, dtype=torch.float64), rows)


@pytest.mark.parametrize(("m", "d"), [(2, 5), (3, 12), (11, 12)])
def test_low_rank_solves_as_its_matrix(m: int, d: int) -> None:
    low = example(m, d)
    vector = torch.randn(2, 3, d, dtype=torch.float64)
    solution, log_det = low.solve(vector)
    matrix = low.dense().matrix
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, vector))
    torch.testing.assert_close(log_det, torch.logdet(matrix))
    torch.testing.assert_close(low.dense().solve(vector), (solution, log_det))
    quadratic = torch.einsum("...i,...ij,...j->...", vector, matrix, vector)
    torch.testing.assert_close(low.quadratic(vector), quadratic)
    torch.testing.assert_close(low.dense().quadratic(vector), quadratic)


@pytest.mark.parametrize("kind", ["low rank", "dense"])
def test_roots_multiply_to_the_covariance(kind: str) -> None:
    low = example(3, 12)
    precision: Precision = low if kind == "low rank" else low.dense()
    root = precision.root()
    columns = torch.eye(12, dtype=torch.float64)
    t = torch.stack([root.times(c.expand(2, 3, 12)) for c in columns], -1)
    torch.testing.assert_close(t @ t.mT, torch.linalg.inv(low.dense().matrix))
    transposed = torch.stack([root.transposed_times(c.expand(2, 3, 12)) for c in columns], -1)
    torch.testing.assert_close(transposed, t.mT)
    whitened = torch.stack([precision.whiten(c.expand(2, 3, 12)) for c in columns], -1)
    torch.testing.assert_close(whitened @ whitened.mT, t @ t.mT)


def test_draws_may_share_matrices_and_a_gram_matrix_may_be_known() -> None:
    low = example(3, 12)
    first = LowRankPrecision(low.diagonal[:1], low.rows[:1])
    noise = torch.randn(5, 3, 12, dtype=torch.float64)
    for shared in (first, LowRankPrecision(*first.tensors()), first.dense()):
        root = shared.root()
        apart = torch.stack([root.times(one[None])[0] for one in noise])
        torch.testing.assert_close(root.times(noise), apart)
        damping = torch.rand(1, 3, dtype=torch.float64)
        matrix = low.dense().matrix[:1]
        more = damping[..., None] * low.diagonal[:1]
        if shared is not first and isinstance(shared, LowRankPrecision):
            found = shared.damped(damping).solve(noise[:1])[0]
            torch.testing.assert_close(
                found, torch.linalg.solve(matrix + torch.diag_embed(more), noise[:1])
            )


def test_a_matrix_that_is_not_positive_definite_gives_nan() -> None:
    matrix = -torch.eye(12, dtype=torch.float64)[None]
    assert DensePrecision(matrix).solve(torch.ones(1, 12, dtype=torch.float64))[0].isnan().all()
