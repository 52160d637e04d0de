"""Gaussian families over theta and phi that keep the plates: phi_i are independent given theta."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal

from bayesmeta.data.arguments import check_wholes

_START_SD = 0.1


@dataclass(frozen=True)
class Family(ABC):
    """q(theta) prod_i q(phi_i | theta), all Gaussian, with q(phi_i | theta) linear in theta.

    The posterior itself factorises so, and so a minibatch of tasks gives an unbiased gradient.
    Parameters of theta come first, then those of the tasks, one row a task.

    Attributes:
        correlates: whether it holds any covariance, so that any linear change of coordinates does.
    """

    correlates: ClassVar[bool] = False

    @abstractmethod
    def start(
        self, d_theta: int, tasks: int, d_phi: int, sd: float = _START_SD
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Parameters at which q is centred on zero with this sd, independent.

        The first is the mean of theta; the second has its log sds.
        """

    @abstractmethod
    def draw(
        self, shared: list[Tensor], rows: list[Tensor], noise_theta: Tensor, noise_phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """theta (d_theta,) and phi (tasks, d_phi) out of standard normal noise."""

    @abstractmethod
    def log_prob(
        self, shared: list[Tensor], rows: list[Tensor], theta: Tensor, phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """log q(theta), shape (), and log q(phi_i | theta), shape (tasks,)."""

    @abstractmethod
    def covariance(self, shared: list[Tensor]) -> Tensor:
        """Of theta, (d_theta, d_theta)."""

    def log_sds(self, second: Tensor) -> Tensor:
        """The log sds among the second parameter, or the slopes in them, (..., d_theta)."""
        return second

    def shift(self, shared: list[Tensor], slope: Tensor) -> Tensor:
        """The step of the natural gradient in the mean of theta, for slopes (n, d_theta) in it."""
        return slope @ self.covariance(shared)

    def noise_theta(self, d_theta: int) -> int:
        """How many standard normal numbers theta takes."""
        return d_theta


@dataclass(frozen=True)
class MeanField(Family):
    """Every coordinate independent: 2 numbers each."""

    def start(
        self, d_theta: int, tasks: int, d_phi: int, sd: float = _START_SD
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Means and log sds."""
        return _mean_and_log_sd((d_theta,), sd), _mean_and_log_sd((tasks, d_phi), sd)

    def draw(
        self, shared: list[Tensor], rows: list[Tensor], noise_theta: Tensor, noise_phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """mean + sd * noise."""
        return (
            shared[0] + shared[1].exp() * noise_theta,
            rows[0] + rows[1].exp() * noise_phi,
        )

    def log_prob(
        self, shared: list[Tensor], rows: list[Tensor], theta: Tensor, phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums of normal log densities."""
        return (
            _diagonal(theta - shared[0], shared[1]),
            _diagonal(phi - rows[0], rows[1]),
        )

    def covariance(self, shared: list[Tensor]) -> Tensor:
        """Variances on the diagonal."""
        return (2 * shared[1]).exp().diag()


@dataclass(frozen=True)
class FullRank(Family):
    """q(theta) with a full covariance; q(phi_i | theta) = N(m_i + A_i (theta - m), L_i L_i').

    It holds the exact posterior of every linear-Gaussian hierarchical model.
    """

    correlates: ClassVar[bool] = True

    def start(
        self, d_theta: int, tasks: int, d_phi: int, sd: float = _START_SD
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Means, Cholesky factors (log diagonal), and A."""
        return (
            [torch.zeros(d_theta), _raw_cholesky((), d_theta, sd)],
            [torch.zeros(tasks, d_phi), _raw_cholesky((tasks,), d_phi, sd),
             torch.zeros(tasks, d_phi, d_theta)],
        )  # fmt: skip

    def draw(
        self, shared: list[Tensor], rows: list[Tensor], noise_theta: Tensor, noise_phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """theta = m + L noise; phi_i = m_i + A_i (theta - m) + L_i noise_i."""
        offset = (_cholesky(shared[1]) @ noise_theta[:, None])[:, 0]
        own = (_cholesky(rows[1]) @ noise_phi[..., None])[..., 0]
        return shared[0] + offset, rows[0] + (rows[2] * offset).sum(-1) + own

    def log_prob(
        self, shared: list[Tensor], rows: list[Tensor], theta: Tensor, phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Multivariate normal log densities by triangular solves."""
        offset = theta - shared[0]
        rest = phi - rows[0] - (rows[2] * offset).sum(-1)
        return _triangular(offset, shared[1]), _triangular(rest, rows[1])

    def covariance(self, shared: list[Tensor]) -> Tensor:
        """L L'."""
        lower = _cholesky(shared[1])
        return lower @ lower.mT

    def log_sds(self, second: Tensor) -> Tensor:
        """The diagonal: log sds given the coordinates before."""
        return second.diagonal(dim1=-2, dim2=-1)


@dataclass(frozen=True)
class LowRank(Family):
    """q(theta) = N(m, diag + W W'); q(phi_i | theta) = N(m_i + U_i V' (theta - m), diag).

    Attributes:
        rank: columns of W, U_i and V.
    """

    rank: int = 4

    def __post_init__(self) -> None:
        check_wholes(self, "rank")

    def start(
        self, d_theta: int, tasks: int, d_phi: int, sd: float = _START_SD
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Means, log sds, W and V, U."""
        spread = torch.linspace(-1, 1, max(1, d_theta * self.rank)).reshape(-1)
        factor = 0.1 * sd * spread[: d_theta * self.rank].reshape(d_theta, self.rank)
        return (
            [*_mean_and_log_sd((d_theta,), sd), factor, factor.clone()],
            [*_mean_and_log_sd((tasks, d_phi), sd), torch.zeros(tasks, d_phi, self.rank)],
        )

    def noise_theta(self, d_theta: int) -> int:
        """One number a coordinate, and one a column of W."""
        return d_theta + self.rank

    def draw(
        self, shared: list[Tensor], rows: list[Tensor], noise_theta: Tensor, noise_phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """theta = m + sd noise + W noise; phi_i = m_i + U_i V' (theta - m) + sd_i noise_i."""
        d_theta = len(shared[0])
        offset = shared[1].exp() * noise_theta[:d_theta] + shared[2] @ noise_theta[d_theta:]
        pull = (rows[2] * (offset @ shared[3])).sum(-1)
        return shared[0] + offset, rows[0] + pull + rows[1].exp() * noise_phi

    def log_prob(
        self, shared: list[Tensor], rows: list[Tensor], theta: Tensor, phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Low-rank and diagonal normal log densities."""
        offset = theta - shared[0]
        joint = LowRankMultivariateNormal(
            torch.zeros_like(theta), shared[2], (2 * shared[1]).exp(), validate_args=False
        ).log_prob(offset)
        rest = phi - rows[0] - (rows[2] * (offset @ shared[3])).sum(-1)
        return joint, _diagonal(rest, rows[1])

    def covariance(self, shared: list[Tensor]) -> Tensor:
        """diag + W W'."""
        return (2 * shared[1]).exp().diag() + shared[2] @ shared[2].mT


def _mean_and_log_sd(shape: tuple[int, ...], sd: float) -> list[Tensor]:
    return [torch.zeros(shape), torch.full(shape, sd).log()]


def _raw_cholesky(batch: tuple[int, ...], size: int, sd: float) -> Tensor:
    return (torch.eye(size) * torch.tensor(sd).log()).expand(*batch, size, size).clone()


def _cholesky(raw: Tensor) -> Tensor:
    diagonal = torch.diagonal(raw, dim1=-2, dim2=-1)
    return raw.tril(-1) + torch.diag_embed(diagonal.exp())


def _diagonal(offset: Tensor, log_sd: Tensor) -> Tensor:
    z = offset * (-log_sd).exp()
    return (-0.5 * z.square() - log_sd - _HALF_LOG_2PI).sum(-1)


def _triangular(offset: Tensor, raw: Tensor) -> Tensor:
    z = torch.linalg.solve_triangular(_cholesky(raw), offset[..., None], upper=False)[..., 0]
    log_det = torch.diagonal(raw, dim1=-2, dim2=-1).sum(-1)
    return (-0.5 * z.square() - _HALF_LOG_2PI).sum(-1) - log_det


_HALF_LOG_2PI = 0.9189385332046727
