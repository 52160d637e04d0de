"""Quantiles of Gamma, Beta and Student's t at standard normal scores, as operations of graphs.

torch has none of them. SciPy's are computed in float64 on the CPU, whatever device asks, from the
nearer tail; the numbers of Gamma and Beta by their logarithm and log odds, which reach where the
numbers themselves underflow.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import special
from torch import Tensor
from torch.nn.functional import logsigmoid

Array = np.ndarray[Any, np.dtype[np.float64]]
# Below it a number of SciPy's has lost digits, and the first term of its series has all of them.
_SMALL = 1e-250
# Relative, of a central difference in a parameter.
_STEP = 1e-5
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class Family(ABC):
    """A family of distributions of one number, on a scale where it is real.

    Attributes:
        number: by which operations know it.
    """

    number: ClassVar[int]

    @abstractmethod
    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """The u with P(U < u) = P(Z < z) for standard normal Z."""

    @abstractmethod
    def score(self, u: Array, a: Array, b: Array) -> Array:
        """The z of that u."""

    @abstractmethod
    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Of u, differentiable."""


class LogGamma(Family):
    """u = log g of g ~ Gamma(a, 1)."""

    number = 0

    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        lower, upper = special.ndtr(z), special.ndtr(-z)
        g = np.where(z < 0, special.gammaincinv(a, lower), special.gammainccinv(a, upper))
        series = (special.log_ndtr(z) + special.gammaln(a + 1)) / a
        return np.where(g > _SMALL, np.log(np.maximum(g, _SMALL)), series)

    def score(self, u: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        return _score(special.gammainc(a, np.exp(u)), special.gammaincc(a, np.exp(u)))

    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """See `Family`."""
        return a * u - u.exp() - torch.lgamma(a)


class BetaLogit(Family):
    """u = log(x / (1 - x)) of x ~ Beta(a, b)."""

    number = 1

    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        # From the lower tail; the upper one is the lower one of 1 - x.
        is_low = z < 0
        first, second, low = np.where(is_low, a, b), np.where(is_low, b, a), -np.abs(z)
        x = special.betaincinv(first, second, special.ndtr(low))
        log_x = np.log(np.maximum(x, _SMALL))
        series = (special.log_ndtr(low) + np.log(first) + special.betaln(first, second)) / first
        size = np.where(x > _SMALL, log_x - np.log1p(-x), series)
        # Where the tail reaches beyond one half, 1 - x has lost what x has not.
        return np.where(is_low, size, -size)

    def score(self, u: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        x, rest = special.expit(u), special.expit(-u)
        return _score(special.betainc(a, b, x), special.betainc(b, a, rest))

    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """See `Family`."""
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return a * logsigmoid(u) + b * logsigmoid(-u) - log_beta


class StudentT(Family):
    """u = t of Student's t with a degrees of freedom."""

    number = 2

    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        size = -special.stdtrit(a, special.ndtr(-np.abs(z)))
        return np.where(z < 0, -size, size)

    def score(self, u: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        return -np.sign(u) * special.ndtri(special.stdtr(a, -np.abs(u)))

    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """See `Family`."""
        constant = torch.lgamma((a + 1) / 2) - torch.lgamma(a / 2) - 0.5 * (a * math.pi).log()
        return constant - 0.5 * (a + 1) * (u.square() / a).log1p()


_families: dict[int, Family] = {f.number: f for f in (LogGamma(), BetaLogit(), StudentT())}


def quantile(family: type[Family], z: Tensor, a: Tensor, b: Tensor | None = None) -> Tensor:
    """The family's u at scores z; all broadcast.

    It is differentiable, du/dz = N(z) / f(u), and in the parameters once, by central differences.
    """
    z, a, b = torch.broadcast_tensors(z, a, a if b is None else b)
    found: Tensor = torch.ops.bayesmeta.quantile(z, a, b, family.number)
    return found


def score(family: type[Family], u: Tensor, a: Tensor, b: Tensor | None = None) -> Tensor:
    """The scores z of the family's u, without gradients; all broadcast."""
    u, a, b = torch.broadcast_tensors(u, a, a if b is None else b)
    found: Tensor = torch.ops.bayesmeta.score(u, a, b, family.number)
    return found


def _score(lower: Array, upper: Array) -> Array:
    return np.where(lower < upper, special.ndtri(lower), -special.ndtri(upper))


def _arrays(*tensors: Tensor) -> list[Array]:
    return [x.detach().double().cpu().numpy() for x in tensors]


def _back(found: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(found)).to(like).contiguous()


@torch.library.custom_op("bayesmeta::quantile", mutates_args=())
def _quantile(z: Tensor, a: Tensor, b: Tensor, family: int) -> Tensor:
    return _back(_families[family].quantile(*_arrays(z, a, b)), z)


@torch.library.custom_op("bayesmeta::score", mutates_args=())
def _scores(u: Tensor, a: Tensor, b: Tensor, family: int) -> Tensor:
    return _back(_families[family].score(*_arrays(u, a, b)), u)


@torch.library.custom_op("bayesmeta::quantile_slopes", mutates_args=())
def _slopes(z: Tensor, a: Tensor, b: Tensor, family: int) -> tuple[Tensor, Tensor]:
    """du/da and du/db, by central differences."""
    of, (x, p, q) = _families[family], _arrays(z, a, b)
    h, k = _STEP * p, _STEP * q
    by_a = (of.quantile(x, p + h, q) - of.quantile(x, p - h, q)) / (2 * h)
    by_b = (of.quantile(x, p, q + k) - of.quantile(x, p, q - k)) / (2 * k)
    return _back(by_a, z), _back(by_b, z)


@_quantile.register_fake
@_scores.register_fake
def _like(z: Tensor, a: Tensor, b: Tensor, family: int) -> Tensor:
    return z.new_empty(z.shape)


@_slopes.register_fake
def _like_two(z: Tensor, a: Tensor, b: Tensor, family: int) -> tuple[Tensor, Tensor]:
    return z.new_empty(z.shape), z.new_empty(z.shape)


def _in_front(info: Any, in_dims: tuple[int | None, ...], tensors: tuple[Any, ...]) -> list[Tensor]:
    """The tensors with the draws of vmap in front."""
    return [
        x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(tensors, in_dims, strict=False)
    ]


def _over_draws(operation: Any, results: int) -> Callable[..., tuple[Any, Any]]:
    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        *tensors, family = args
        found = operation(*_in_front(info, in_dims, tuple(tensors)), family)
        return found, 0 if results == 1 else (0,) * results

    return rule


_quantile.register_vmap(_over_draws(torch.ops.bayesmeta.quantile, 1))
_scores.register_vmap(_over_draws(torch.ops.bayesmeta.score, 1))
_slopes.register_vmap(_over_draws(torch.ops.bayesmeta.quantile_slopes, 2))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    z, a, b, ctx.family = inputs
    ctx.save_for_backward(z, output, a, b)


def _backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
    z, u, a, b = ctx.saved_tensors
    by_z = (-0.5 * z.square() - _HALF_LOG_2_PI - _families[ctx.family].log_density(u, a, b)).exp()
    by_a = by_b = None
    if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
        # Held: of these there are no second derivatives.
        held = (x.detach() for x in (z, a, b))
        found = torch.ops.bayesmeta.quantile_slopes(*held, ctx.family)
        by_a, by_b = (slope * x for x in found)
    return slope * by_z, by_a, by_b, None


_quantile.register_autograd(_backward, setup_context=_keep)
