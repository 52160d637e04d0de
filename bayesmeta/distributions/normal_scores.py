"""Draws of a distribution as functions of standard normal numbers, and back (Rosenblatt 1952)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import pyro.distributions as dist
import torch
import torch.distributions as torch_dist
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Tensor
from torch.distributions import Distribution, biject_to, constraints
from torch.special import ndtri

from bayesmeta.distributions.quantile_operations import (
    BetaLogit,
    LogGamma,
    StudentT,
    quantile,
    score,
)

# Scores beyond which a heavy tail, or a number near zero, would overflow in float32 when squared:
# of Cauchy's, 1e15 scales out; of Student's t by its degrees of freedom; 1e-9 scales from zero.
_FAR, _FARTHER, _LIGHTER, _NEAR = 8.0, 16.0, 4.0, 6.0
_LIBRARIES = ("torch", "pyro")
_AROUND = (torch_dist.Independent, ExpandedDistribution, dist.MaskedDistribution)


class NormalScores:
    """x = T(z), increasing in each coordinate: x is of the distribution where z is N(0, I).

    z has the shape of unconstrained x. For one number it is the score F(x) = P(Z < z); for several
    each is given those before it.

    Args:
        to_value: T, differentiable once, also in the distribution's parameters.
        to_score: its inverse, without gradients.
    """

    def __init__(
        self, to_value: Callable[[Tensor], Tensor], to_score: Callable[[Tensor], Tensor]
    ) -> None:
        self.to_value, self.to_score = to_value, to_score


@singledispatch
def _of(fn: Any) -> NormalScores | None:
    return _by_own_quantiles(fn)


def normal_scores(fn: Any) -> NormalScores | None:
    """The normal scores of a distribution of torch's or Pyro's; None where they are not known.

    They are of every family with quantiles, of normals, Dirichlet and LKJ of any size, and of what
    invertible transforms make of these.
    """
    return _of(fn) if type(fn).__module__.split(".")[0] in _LIBRARIES else None


def scores_of(fn: Any) -> NormalScores:
    """The normal scores of a distribution that is known to have them."""
    found = normal_scores(fn)
    assert found is not None
    return found


def _wrapped(fn: Any) -> NormalScores | None:
    return normal_scores(fn.base_dist)


for _kind in _AROUND:
    _of.register(_kind, _wrapped)


@_of.register
def _transformed(fn: torch_dist.TransformedDistribution) -> NormalScores | None:
    base = normal_scores(fn.base_dist)
    if base is None or not all(t.bijective for t in fn.transforms):
        return None

    # A reciprocal turns the order of numbers round.
    sign = math.prod(t.sign for t in fn.transforms if t.domain.event_dim == 0)

    def to_value(z: Tensor) -> Tensor:
        x = base.to_value(sign * z)
        for transform in fn.transforms:
            x = transform(x)
        return x

    def to_score(x: Tensor) -> Tensor:
        for transform in reversed(fn.transforms):
            x = transform.inv(x)
        return sign * base.to_score(x)

    return NormalScores(to_value, to_score)


@_of.register
def _normal(fn: torch_dist.Normal) -> NormalScores:
    return NormalScores(lambda z: fn.loc + fn.scale * z, lambda x: (x - fn.loc) / fn.scale)


@_of.register
def _multivariate(fn: torch_dist.MultivariateNormal) -> NormalScores:
    return _of_root(fn.loc, fn.scale_tril)


@_of.register
def _low_rank(fn: torch_dist.LowRankMultivariateNormal) -> NormalScores:
    return _of_root(fn.loc, torch.linalg.cholesky(fn.covariance_matrix))


def _of_root(loc: Tensor, root: Tensor) -> NormalScores:
    def to_score(x: Tensor) -> Tensor:
        away = (x - loc)[..., None]
        return torch.linalg.solve_triangular(root, away, upper=False)[..., 0]

    return NormalScores(lambda z: loc + (root @ z[..., None])[..., 0], to_score)


@_of.register
def _cauchy(fn: torch_dist.Cauchy) -> NormalScores:
    return _symmetric(
        fn,
        lambda z: -1 / torch.tan(math.pi * _below(z)),
        lambda x: torch.atan(-1 / x) / math.pi,
        _FAR,
    )


@_of.register
def _laplace(fn: torch_dist.Laplace) -> NormalScores:
    return _symmetric(fn, lambda z: _log_below(z) + math.log(2), lambda x: x.exp() / 2)


def _symmetric(
    fn: Any,
    lower: Callable[[Tensor], Tensor],
    chance: Callable[[Tensor], Tensor],
    most: float = math.inf,
) -> NormalScores:
    """loc + scale x, x of a symmetric family: its quantiles below 0, and chances below x < 0."""

    def to_value(z: Tensor) -> Tensor:
        z = z.clamp(-most, most)
        size = lower(torch.where(z < 0, z, -z))
        return fn.loc + fn.scale * torch.where(z < 0, size, -size)

    def to_score(x: Tensor) -> Tensor:
        x = (x - fn.loc) / fn.scale
        size = ndtri(chance(-x.abs().clamp(min=torch.finfo(x.dtype).tiny)))
        return torch.where(x < 0, size, -size)

    return NormalScores(to_value, to_score)


@_of.register
def _student(fn: torch_dist.StudentT) -> NormalScores:
    def to_value(z: Tensor) -> Tensor:
        most = torch.where(fn.df < _LIGHTER, _FAR, _FARTHER)
        return fn.loc + fn.scale * quantile(StudentT, z.clamp(-most, most), fn.df)

    return NormalScores(
        to_value,
        lambda x: score(StudentT, (x - fn.loc) / fn.scale, fn.df),
    )


@_of.register
def _gumbel(fn: torch_dist.Gumbel) -> NormalScores:
    def to_score(x: Tensor) -> Tensor:
        tail = (-(x - fn.loc) / fn.scale).exp()
        return _nearer((-tail).exp(), -torch.expm1(-tail))

    return NormalScores(lambda z: fn.loc - fn.scale * (-_log_below(z)).log(), to_score)


@_of.register
def _half_normal(fn: torch_dist.HalfNormal) -> NormalScores:
    def to_value(z: Tensor) -> Tensor:
        low, high = z.clamp(-_NEAR, 0), z.clamp(min=0)
        below = math.sqrt(2) * torch.erfinv(_below(low))
        return fn.scale * torch.where(z < 0, below, -ndtri(_below(-high) / 2))

    def to_score(x: Tensor) -> Tensor:
        x = x / fn.scale
        return _nearer(torch.erf(x / math.sqrt(2)), 2 * _below(-x))

    return NormalScores(to_value, to_score)


@_of.register
def _half_cauchy(fn: torch_dist.HalfCauchy) -> NormalScores:
    def to_value(z: Tensor) -> Tensor:
        low, high = z.clamp(-_NEAR, 0), z.clamp(0, _FAR)
        below = torch.tan(math.pi / 2 * _below(low))
        above = 1 / torch.tan(math.pi / 2 * _below(-high))
        return fn.scale * torch.where(z < 0, below, above)

    def to_score(x: Tensor) -> Tensor:
        x = x / fn.scale
        return _nearer(torch.atan(x) * 2 / math.pi, torch.atan(1 / x) * 2 / math.pi)

    return NormalScores(to_value, to_score)


@_of.register
def _exponential(fn: torch_dist.Exponential) -> NormalScores:
    def to_score(x: Tensor) -> Tensor:
        return _nearer(-torch.expm1(-fn.rate * x), (-fn.rate * x).exp())

    return NormalScores(lambda z: -_log_below(-z.clamp(min=-_NEAR)) / fn.rate, to_score)


@_of.register
def _uniform(fn: torch_dist.Uniform) -> NormalScores:
    def to_score(x: Tensor) -> Tensor:
        width = fn.high - fn.low
        return _nearer((x - fn.low) / width, (fn.high - x) / width)

    return NormalScores(lambda z: fn.low + (fn.high - fn.low) * _inside(_below(z)), to_score)


@_of.register
def _gamma(fn: torch_dist.Gamma) -> NormalScores:
    def to_value(z: Tensor) -> Tensor:
        return _above_zero(quantile(LogGamma, z, fn.concentration).exp() / fn.rate)

    return NormalScores(to_value, lambda x: score(LogGamma, (fn.rate * x).log(), fn.concentration))


@_of.register
def _beta(fn: torch_dist.Beta) -> NormalScores:
    a, b = fn.concentration1, fn.concentration0
    return NormalScores(
        lambda z: _inside(quantile(BetaLogit, z, a, b).sigmoid()),
        lambda x: score(BetaLogit, x.logit(), a, b),
    )


@_of.register
def _dirichlet(fn: torch_dist.Dirichlet) -> NormalScores:
    """Each share of what is left of the stick is a Beta."""
    a = fn.concentration
    rest = a.flip(-1).cumsum(-1).flip(-1)[..., 1:]
    onto = biject_to(constraints.simplex)

    def offset(like: Tensor) -> Tensor:
        return torch.arange(like.shape[-1], 0, -1, dtype=like.dtype, device=like.device).log()

    def to_value(z: Tensor) -> Tensor:
        return onto(quantile(BetaLogit, z, a[..., :-1], rest) + offset(z))

    def to_score(x: Tensor) -> Tensor:
        u = onto.inv(x)
        return score(BetaLogit, u - offset(u), a[..., :-1], rest)

    return NormalScores(to_value, to_score)


@_of.register
def _lkj(fn: torch_dist.LKJCholesky) -> NormalScores:
    """Partial correlations of a canonical vine are Betas (Lewandowski, Kurowicka & Joe 2009)."""
    onto = biject_to(constraints.corr_cholesky)
    _, column = torch.tril_indices(fn.dim, fn.dim, -1, device=fn.concentration.device)
    a = fn.concentration[..., None] + (fn.dim - 2 - column) / 2

    def to_score(x: Tensor) -> Tensor:
        return score(BetaLogit, 2 * onto.inv(x), a, a)

    return NormalScores(lambda z: onto(quantile(BetaLogit, z, a, a) / 2), to_score)


def _by_own_quantiles(fn: Any) -> NormalScores | None:
    """By cdf and icdf, where a family of one number has both, and is continuous."""
    kind = type(fn)
    has_both = kind.icdf is not Distribution.icdf and kind.cdf is not Distribution.cdf
    if not has_both or fn.event_shape or fn.support.is_discrete:
        return None
    return NormalScores(
        lambda z: fn.icdf(_inside(_below(z))),
        lambda x: _nearer(fn.cdf(x), 1 - fn.cdf(x)),
    )


def _below(z: Tensor) -> Tensor:
    """P(Z < z), to all digits: `torch.special.ndtr` (2.13) has lost them from -5 on in float32."""
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def _log_below(z: Tensor) -> Tensor:
    """log P(Z < z); torch's own log_ndtr (2.13) is computed draw by draw under vmap."""
    low, high = z.clamp(max=-1), z.clamp(min=-1)
    tail = (torch.special.erfcx(-low / math.sqrt(2)) / 2).log() - low.square() / 2
    return torch.where(z < -1, tail, (-0.5 * torch.erfc(high / math.sqrt(2))).log1p())


def _nearer(below: Tensor, above: Tensor) -> Tensor:
    """The score of a number with these chances below and above it, by the smaller of them."""
    return torch.where(below < above, ndtri(below), -ndtri(above))


def _inside(share: Tensor) -> Tensor:
    """Shares strictly between 0 and 1."""
    return _above_zero(share).clamp(max=1 - torch.finfo(share.dtype).eps / 2)


def _above_zero(value: Tensor) -> Tensor:
    return value.clamp(min=torch.finfo(value.dtype).tiny)
