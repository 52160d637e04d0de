"""Positive definite matrices, one a task, in the form in which they are quick to solve."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.task_level import elimination


class Root(ABC):
    """T with T T' = A^{-1}, factored once to be applied many times."""

    @abstractmethod
    def times(self, noise: Tensor) -> Tensor:
        """T noise: of covariance A^{-1} for standard normal noise."""

    @abstractmethod
    def transposed_times(self, vector: Tensor) -> Tensor:
        """T' vector."""


class Precision(ABC):
    """A_i of every task, of size d_phi, the inverse covariance of a Gaussian.

    Tensors may have further dimensions in front, such as draws; vectors are (..., tasks, d_phi).
    """

    @abstractmethod
    def solve(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """A^{-1} vector, and log det A (..., tasks); NaN where A is not positive definite."""

    @abstractmethod
    def quadratic(self, vector: Tensor) -> Tensor:
        """vector' A vector, (..., tasks)."""

    @abstractmethod
    def damped(self, damping: Tensor) -> Precision:
        """The same with (1 + damping) times its diagonal part, damping (..., tasks)."""

    @abstractmethod
    def whiten(self, noise: Tensor) -> Tensor:
        """Vectors of covariance A^{-1} for standard normal noise; once, in a graph or not."""

    @abstractmethod
    def root(self) -> Root:
        """The factor of A^{-1} that vectors are multiplied by."""

    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """What it is made of: the arguments that make another like it."""


@dataclass(frozen=True)
class DensePrecision(Precision):
    """A as a matrix (..., tasks, d_phi, d_phi)."""

    matrix: Tensor

    def solve(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """By Cholesky's method, unrolled where A is small."""
        return elimination.solve(self.matrix, vector)

    def quadratic(self, vector: Tensor) -> Tensor:
        """By a product with the matrix."""
        return (vector * _times(self.matrix, vector)).sum(-1)

    def damped(self, damping: Tensor) -> Precision:
        """With more on A's diagonal."""
        more = damping[..., None] * self.matrix.diagonal(dim1=-2, dim2=-1)
        return DensePrecision(self.matrix + torch.diag_embed(more))

    def whiten(self, noise: Tensor) -> Tensor:
        """By Cholesky's method, unrolled where A is small."""
        return elimination.whitened(self.matrix, noise)

    def root(self) -> Root:
        """L'^{-1} for A = L L', as a matrix."""
        lower = torch.linalg.cholesky_ex(self.matrix)[0]
        one = torch.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
        return DenseRoot(torch.linalg.solve_triangular(lower.mT, one, upper=True))

    def tensors(self) -> tuple[Tensor, ...]:
        """The matrix."""
        return (self.matrix,)


@dataclass(frozen=True)
class LowRankPrecision(Precision):
    """A = D + R' R for a positive diagonal D (..., tasks, d_phi) and rows R (..., tasks, m, d_phi).

    It takes m^2 d_phi operations a task, by A^{-1} = D^{-1/2} (I - V S^{-1} V') D^{-1/2} with
    V = D^{-1/2} R' and S = I + V' V (Woodbury), and det A = det D det S.

    Attributes:
        diagonal, rows: D and R.
        gram: V' V (..., tasks, m, m), where it is known.
    """

    diagonal: Tensor
    rows: Tensor
    gram: Tensor | None = None

    def solve(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """By a Cholesky factor of S."""
        scaled = vector / self.diagonal
        along = _times(self.rows, scaled)
        inner, log_det = elimination.solve_by_library(_and_one(self._gram()), along)
        solution = scaled - _times(self.rows.mT, inner) / self.diagonal
        return solution, log_det + self.diagonal.log().sum(-1)

    def quadratic(self, vector: Tensor) -> Tensor:
        """vector' D vector + |R vector|^2."""
        along = _times(self.rows, vector).square().sum(-1)
        return (self.diagonal * vector.square()).sum(-1) + along

    def damped(self, damping: Tensor) -> Precision:
        """With more of D, and less of V' V."""
        more = 1 + damping[..., None]
        return LowRankPrecision(self.diagonal * more, self.rows, self._gram() / more[..., None])

    def whiten(self, noise: Tensor) -> Tensor:
        """By a Cholesky factor of S."""
        return self.root().times(noise)

    def root(self) -> Root:
        """D^{-1/2} (I - V L'^{-1} (I + L)^{-1} V') for S = L L'."""
        lower = torch.linalg.cholesky_ex(_and_one(self._gram()))[0]
        return _LowRankRoot(self.diagonal.sqrt(), self.rows, lower)

    def _gram(self) -> Tensor:
        if self.gram is not None:
            return self.gram
        return (self.rows / self.diagonal[..., None, :]) @ self.rows.mT

    def tensors(self) -> tuple[Tensor, ...]:
        """The diagonal, the rows and V' V."""
        return self.diagonal, self.rows, self._gram()

    def dense(self) -> DensePrecision:
        """The same as a matrix."""
        return DensePrecision(torch.diag_embed(self.diagonal) + self.rows.mT @ self.rows)


@dataclass(frozen=True)
class DenseRoot(Root):
    """T as an upper triangular matrix (..., tasks, d_phi, d_phi)."""

    matrix: Tensor

    def times(self, noise: Tensor) -> Tensor:
        """By a product."""
        return _times(self.matrix, noise)

    def transposed_times(self, vector: Tensor) -> Tensor:
        """By a product."""
        return _times(self.matrix.mT, vector)

    def inverse_times(self, vector: Tensor) -> Tensor:
        """T^{-1} vector: the noise of which it is made."""
        return _triangular(self.matrix, vector, upper=True)


@dataclass(frozen=True)
class _LowRankRoot(Root):
    """With K = L'^{-1} (I + L)^{-1}: K + K' - K V'V K' = S^{-1}, so that T T' = A^{-1}."""

    scale: Tensor
    rows: Tensor
    lower: Tensor

    def times(self, noise: Tensor) -> Tensor:
        scaled = noise / self.scale
        inner = _triangular(_and_one(self.lower), _times(self.rows, scaled), upper=False)
        inner = _triangular(self.lower.mT, inner, upper=True)
        back = self.rows / self.scale.square()[..., None, :]
        return _minus_times(scaled, back.mT, inner)

    def transposed_times(self, vector: Tensor) -> Tensor:
        scaled = vector / self.scale
        along = _times(self.rows, scaled / self.scale)
        inner = _triangular(self.lower, along, upper=False)
        inner = _triangular(_and_one(self.lower).mT, inner, upper=True)
        return scaled - _times(self.rows.mT, inner) / self.scale


def where(choice: Tensor, new: Sequence[Tensor], old: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The new tensors where choice (..., tasks), the old elsewhere."""
    if choice.all():
        return tuple(new)
    return tuple(
        torch.where(choice.reshape(*choice.shape, *[1] * (a.dim() - choice.dim())), a, b)
        for a, b in zip(new, old, strict=True)
    )


def _and_one(matrix: Tensor) -> Tensor:
    return matrix + torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    if matrix.dim() == 4 and len(matrix) == 1 < len(vector):
        # All draws share the matrices, which broadcasting would copy for each.
        return (vector.movedim(0, -2) @ matrix[0].mT).movedim(-2, 0)
    return (matrix @ vector[..., None])[..., 0]


def _minus_times(start: Tensor, matrix: Tensor, vector: Tensor) -> Tensor:
    """start - matrix vector, without another tensor of its size where all draws share matrices."""
    if matrix.dim() == 4 and len(matrix) == 1 < len(vector):
        at, by = start.movedim(0, -2), vector.movedim(0, -2)
        return torch.baddbmm(at, by, matrix[0].mT, alpha=-1).movedim(-2, 0)
    return start - _times(matrix, vector)


def _triangular(matrix: Tensor, vector: Tensor, *, upper: bool) -> Tensor:
    return torch.linalg.solve_triangular(matrix, vector[..., None], upper=upper)[..., 0]
