"""Draws of a distribution that are of it, also where those of torch and Pyro are not.

torch 2.13 draws correlation matrices whose correlations have unequal variances (LKJCholesky), gives
exactly 1/2 where both gamma numbers of a Beta underflow (a quarter of Beta(.001, .001)), and 1/k
likewise for a Dirichlet. Here gamma numbers are drawn by their logarithms.

What is nearer to the end of a support than floats go is the nearest float inside it, such as
2.2e-308 for half of the draws of a Gamma(.001, 1).
"""

from __future__ import annotations

from functools import partial, singledispatch
from typing import Any

import pyro.distributions as dist
import torch
import torch.distributions as torch_dist
from pyro.distributions.torch_distribution import ExpandedDistribution
from torch import Size, Tensor
from torch.nn.functional import logsigmoid, pad

_LIBRARIES = ("torch", "pyro")


def draw(fn: Any, shape: Size = Size()) -> Tensor:  # noqa: B008
    """Independent draws of a distribution, without gradients.

    Args:
        fn: the distribution.
        shape: how many, as of torch's `sample`.

    Returns:
        Draws of shape `shape` + batch shape + event shape.
    """
    methods = (getattr(type(fn), name, None) for name in ("sample", "rsample"))
    if all(m is None or m.__module__.split(".")[0] in _LIBRARIES for m in methods):
        with torch.no_grad():
            drawn: Tensor = _drawn(fn, Size(shape))
            return drawn
    return fn.sample(shape)


@singledispatch
def _drawn(fn: Any, shape: Size) -> Tensor:
    return fn.sample(shape)


@_drawn.register(torch_dist.Independent)
@_drawn.register(dist.MaskedDistribution)
def _of_base(fn: Any, shape: Size) -> Tensor:
    return draw(fn.base_dist, shape)


@_drawn.register
def _expanded(fn: ExpandedDistribution, shape: Size) -> Tensor:
    return fn._sample(partial(draw, fn.base_dist), shape)


@_drawn.register
def _transformed(fn: torch_dist.TransformedDistribution, shape: Size) -> Tensor:
    value = draw(fn.base_dist, shape)
    for transform in fn.transforms:
        value = transform(value)
    return value


@_drawn.register
def _mixture(fn: torch_dist.MixtureSameFamily, shape: Size) -> Tensor:
    which = draw(fn.mixture_distribution, shape)
    drawn = draw(fn.component_distribution, shape)
    at = which.dim()
    which = which.reshape(*which.shape, *[1] * (drawn.dim() - at))
    return drawn.take_along_dim(which, dim=at).squeeze(at)


@_drawn.register
def _gamma(fn: torch_dist.Gamma, shape: Size) -> Tensor:
    value = (_log_gamma(fn.concentration, shape) - fn.rate.double().log()).exp()
    return _above_zero(value, fn.rate)


@_drawn.register
def _beta(fn: torch_dist.Beta, shape: Size) -> Tensor:
    share = _log_odds(fn.concentration1, fn.concentration0, shape).sigmoid()
    return _above_zero(share, fn.concentration1).clamp(max=1 - _float(fn.concentration1).eps / 2)


@_drawn.register
def _dirichlet(fn: torch_dist.Dirichlet, shape: Size) -> Tensor:
    return _above_zero(_log_gamma(fn.concentration, shape).softmax(-1), fn.concentration)


@_drawn.register
def _beta_binomial(fn: dist.BetaBinomial, shape: Size) -> Tensor:
    return dist.Binomial(fn.total_count, draw(fn._beta, shape), validate_args=False).sample()


@_drawn.register
def _lkj_cholesky(fn: torch_dist.LKJCholesky, shape: Size) -> Tensor:
    """By the onion method (Lewandowski, Kurowicka & Joe 2009): row i of the factor has a direction
    that is uniform on the sphere, and a squared length left of the diagonal that is
    Beta(i / 2, concentration + (dim - 1 - i) / 2), for i = 1, ..., dim - 1."""
    row = torch.arange(1, fn.dim, dtype=torch.float64, device=fn.concentration.device)
    rest = fn.concentration[..., None] + (fn.dim - 1 - row) / 2
    odds = _log_odds((row / 2).expand_as(rest), rest, shape)
    left, diagonal = ((logsigmoid(x) / 2).exp() for x in (odds, -odds))
    towards = torch.randn(*odds.shape[:-1], fn.dim, fn.dim, dtype=odds.dtype, device=odds.device)
    towards = torch.nn.functional.normalize(towards.tril(-1), dim=-1)
    factor = towards * pad(left, (1, 0))[..., None]
    diagonal = _above_zero(pad(diagonal, (1, 0), value=1.0), fn.concentration)
    return factor.to(diagonal.dtype) + torch.diag_embed(diagonal)


def _log_odds(of: Tensor, against: Tensor, shape: Size) -> Tensor:
    """log(x / (1 - x)) of x ~ Beta(of, against), which are of one shape."""
    return _log_gamma(of, shape) - _log_gamma(against, shape)


def _log_gamma(concentration: Tensor, shape: Size) -> Tensor:
    """log g of g ~ Gamma(concentration, 1), in float64: g = g' u^(1 / concentration), with g' of
    the concentration one higher and u uniform (Marsaglia & Tsang 2000)."""
    a = concentration.double().expand(shape + concentration.shape).contiguous()
    return torch._standard_gamma(a + 1).log() + torch.rand_like(a).neg().log1p() / a


def _above_zero(value: Tensor, like: Tensor) -> Tensor:
    """In the dtype of `like`, at least its smallest normal number."""
    return value.to(like.dtype).clamp(min=_float(like).tiny)


def _float(like: Tensor) -> torch.finfo:
    return torch.finfo(like.dtype)
