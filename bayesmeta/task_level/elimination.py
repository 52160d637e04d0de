"""Many small positive definite systems at once, in operations that compile."""

from __future__ import annotations

import torch
from torch import Tensor

# Unrolled elimination takes d^3 / 6 operations; beyond this a library call is cheaper.
_UNROLLED = 8


def solve(matrix: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """Solve A_i x_i = b_i, and log det A_i, for positive definite A_i.

    Small systems are eliminated one element at a time, as operations on all tasks: unlike a call
    of LAPACK, these fuse into the compiled density around them. Where an A_i is not positive
    definite its results are NaN.

    Args:
        matrix: A, of shape (tasks, d, d).
        vector: b, of shape (tasks, d).

    Returns:
        x (tasks, d), and log det A (tasks,).
    """
    size = matrix.shape[-1]
    if size == 0:
        return vector, vector.new_zeros(vector.shape[:-1])
    if size > _UNROLLED:
        return solve_by_library(matrix, vector)
    rows = _factor(matrix)
    log_det = 2 * torch.stack([rows[j][j].log() for j in range(size)]).sum(0)
    return _substitute(rows, list(vector.unbind(-1))), log_det


def solve_by_library(matrix: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """The same by LAPACK, whatever the size: nothing to compile."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    factor = torch.where((info == 0)[..., None, None], factor, torch.nan)
    solution = torch.cholesky_solve(vector[..., None], factor)[..., 0]
    return solution, 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def whitened(matrix: Tensor, vector: Tensor) -> Tensor:
    """x_i with L_i' x_i = b_i, where L_i L_i' = A_i: of covariance A_i^{-1} for standard normal b.

    Shapes as in `solve`.
    """
    size = matrix.shape[-1]
    if size == 0:
        return vector
    if size > _UNROLLED:
        factor = torch.linalg.cholesky_ex(matrix)[0]
        solution = torch.linalg.solve_triangular(factor.mT, vector[..., None], upper=True)
        return solution[..., 0]
    return _backward(_factor(matrix), list(vector.unbind(-1)))


def _factor(matrix: Tensor) -> list[list[Tensor]]:
    """The rows of the lower triangular L with L L' = A (Cholesky-Banachiewicz)."""
    rows: list[list[Tensor]] = []
    for i in range(matrix.shape[-1]):
        row: list[Tensor] = []
        for j in range(i + 1):
            # For j = i the row so far is both factors, for j < i it is row j.
            other = row if j == i else rows[j]
            rest = matrix[..., i, j]
            for a, b in zip(row[:j], other[:j], strict=True):
                rest = rest - a * b
            row.append(rest.sqrt() if j == i else rest / rows[j][j])
        rows.append(row)
    return rows


def _substitute(rows: list[list[Tensor]], right: list[Tensor]) -> Tensor:
    """L L' x = b by forward and back substitution."""
    size = len(rows)
    half: list[Tensor] = []
    for i in range(size):
        rest = right[i]
        for j in range(i):
            rest = rest - rows[i][j] * half[j]
        half.append(rest / rows[i][i])
    return _backward(rows, half)


def _backward(rows: list[list[Tensor]], half: list[Tensor]) -> Tensor:
    """L' x = b by back substitution."""
    size, whole = len(rows), list(half)
    for i in reversed(range(size)):
        rest = half[i]
        for j in range(i + 1, size):
            rest = rest - rows[j][i] * whole[j]
        whole[i] = rest / rows[i][i]
    return torch.stack(whole, dim=-1)
