"""Student's t with a scale of its own on each side of each axis: what to draw from and weigh."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Tails that are heavier than those of posteriors, and that have a variance.
_FREEDOM = 6.0
# Where the drop of a density along an axis is looked at, in its standard deviations; and how much
# wider or narrower than these a side may be.
_AT = (0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
_NARROW, _WIDE = 0.3, 10.0


@dataclass(frozen=True)
class SplitT:
    """x = c + T s(z) / sqrt(chi2 / nu), z normal, s(z)_j = up_j z_j above 0 and down_j z_j below.

    Each side of an axis has half of the draws, so that the density jumps at its middle where the
    scales differ; as a proposal it is none the worse (Geweke 1989, section 5).

    Attributes:
        centre: c, (d,).
        axes: T, whose columns are the axes, (d, d).
        up, down: the scales, (d,).
    """

    centre: Tensor
    axes: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def at_mode(
        cls, log_p: Callable[[Tensor], Tensor], mode: Tensor, height: Tensor, precision: Tensor
    ) -> SplitT:
        """Around a mode: each scale is the least at which t falls no faster than p on that side.

        An axis follows the ridge of a coordinate, on which the others are where they are best; the
        coordinates whose ridges are the least like a normal distribution come first.

        Args:
            log_p: of points (n, d), (n,).
            mode, height, precision: the mode, log p there, and minus its Hessian.
        """

        def scales(axes: Tensor) -> Tensor:
            return _scales(log_p, mode, height, axes)

        covariance = _inverse(precision)
        ridges = covariance / covariance.diagonal().sqrt()
        order = scales(ridges).amax(0).argsort(descending=True)
        axes = torch.zeros_like(ridges)
        axes[order] = torch.linalg.cholesky(covariance[order][:, order])
        up, down = scales(axes)
        return cls(mode, axes, up, down)

    @classmethod
    def of_draws(cls, x: Tensor, weights: Tensor) -> SplitT:
        """With the moments of weighted draws (n, d), on each side of their mean."""
        mean = weights @ x
        covariance = (x - mean).T @ ((x - mean) * weights[:, None])
        axes = torch.linalg.cholesky(covariance)
        z = torch.linalg.solve(axes, (x - mean).T).T
        above, below = (weights[:, None] * (sign * z > 0) for sign in (1, -1))
        up, down = ((w * z.square()).sum(0) / w.sum(0).clamp(min=1e-12) for w in (above, below))
        sides = (s.sqrt().clamp(_NARROW, 1 / _NARROW) for s in (up, down))
        return cls(mean, axes, *sides)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """So many, (count, d)."""
        d, nu = len(self.centre), int(_FREEDOM)
        z = torch.randn(count, d + nu, dtype=self.centre.dtype, generator=generator, device="cpu")
        side = torch.where(z[:, :d] > 0, self.up, self.down) * z[:, :d]
        t = side / z[:, d:].square().mean(1, keepdim=True).sqrt()
        return self.centre + t @ self.axes.T

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density at points (n, d), (n,)."""
        d = len(self.centre)
        z = torch.linalg.solve(self.axes, (x - self.centre).T).T
        side = torch.where(z > 0, self.up, self.down)
        log_t = -0.5 * (_FREEDOM + d) * ((z / side).square().sum(1) / _FREEDOM).log1p()
        constant = math.lgamma(0.5 * (_FREEDOM + d)) - math.lgamma(0.5 * _FREEDOM)
        constant -= 0.5 * d * math.log(_FREEDOM * math.pi)
        return constant + log_t - side.log().sum(1) - torch.linalg.slogdet(self.axes)[1]


def _scales(
    log_p: Callable[[Tensor], Tensor], mode: Tensor, height: Tensor, axes: Tensor
) -> Tensor:
    """How much wider t has to be than a unit above and below the mode on each axis, (2, d)."""
    at = torch.tensor(_AT, dtype=mode.dtype)
    points = mode + at[:, None] * torch.stack([axes.T, -axes.T])[:, :, None]
    drop = (height - log_p(points.flatten(0, 2))).reshape(points.shape[:3])
    drop = drop.nan_to_num(torch.inf).clamp(min=1e-6)
    # Where that of t in one dimension has fallen by as much: (nu + 1) / 2 log(1 + x^2 / nu).
    as_much = (_FREEDOM * torch.expm1(2 * drop / (_FREEDOM + 1))).sqrt()
    return (at / as_much).amax(-1).clamp(_NARROW, _WIDE)


def _inverse(precision: Tensor) -> Tensor:
    """In units of its own, so that numbers of other sizes lose no digits."""
    unit = precision.diagonal().rsqrt()
    scaled = torch.linalg.cholesky(precision * unit * unit[:, None])
    return torch.cholesky_inverse(scaled) * unit * unit[:, None]
