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
import scipy
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

Array = np.ndarray[Any, np.dtype[np.float64]]
# Below it a number of SciPy's has lost digits, and the first term of its series has all of them.
_SMALL = 1e-250
_LOG_SMALL = math.log(_SMALL)
# Relative, of a central difference in a parameter.
_STEP = 1e-5
_HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class Family(ABC):
    """A family of distributions of one number, on a scale where it is real.

    Attributes:
        number: by which operations know it.
        has_two: whether it has the second parameter.
    """

    number: ClassVar[int]
    has_two: ClassVar[bool] = False

    @abstractmethod
    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """The u with P(U < u) = P(Z < z) for standard normal Z."""

    @abstractmethod
    def tails(self, u: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """P(U < u) and P(U > u)."""

    @abstractmethod
    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """Of u, differentiable."""

    def far(self, u: Array, a: Array, b: Array) -> tuple[Any, Array, Array] | None:
        """Where tails underflow, and du/da and du/db there; None where that is nowhere."""
        return None


class LogGamma(Family):
    """u = log g of g ~ Gamma(a, 1)."""

    number = 0

    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        low, g = z < 0, np.empty_like(z)
        g[low] = scipy.special.gammaincinv(a[low], scipy.special.ndtr(z[low]))
        g[~low] = scipy.special.gammainccinv(a[~low], scipy.special.ndtr(-z[~low]))
        series = (scipy.special.log_ndtr(z) + scipy.special.gammaln(a + 1)) / a
        return np.where(g > _SMALL, np.log(np.maximum(g, _SMALL)), series)

    def tails(self, u: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """See `Family`."""
        return scipy.special.gammainc(a, np.exp(u)), scipy.special.gammaincc(a, np.exp(u))

    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """See `Family`."""
        return a * u - u.exp() - torch.lgamma(a)

    def far(self, u: Array, a: Array, b: Array) -> tuple[Any, Array, Array]:
        """See `Family`."""
        return u < _LOG_SMALL, (scipy.special.digamma(a + 1) - u) / a, np.zeros_like(u)


class BetaLogit(Family):
    """u = log(x / (1 - x)) of x ~ Beta(a, b)."""

    number = 1
    has_two = True

    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        # From the lower tail; the upper one is the lower one of 1 - x.
        is_low = z < 0
        first, second, low = np.where(is_low, a, b), np.where(is_low, b, a), -np.abs(z)
        size = _log_odds(first, second, low)
        # Near 1 the number has lost digits that 1 - x has not.
        high = size > 0
        size[high] = -_log_odds(second[high], first[high], -low[high])
        return np.where(is_low, size, -size)

    def tails(self, u: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """See `Family`."""
        x, rest = scipy.special.expit(u), scipy.special.expit(-u)
        return scipy.special.betainc(a, b, x), scipy.special.betainc(b, a, rest)

    def log_density(self, u: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """See `Family`."""
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        return a * logsigmoid(u) + b * logsigmoid(-u) - log_beta

    def far(self, u: Array, a: Array, b: Array) -> tuple[Any, Array, Array]:
        """See `Family`."""
        low, both = u < 0, scipy.special.digamma(a + b)
        own, other = np.where(low, a, b), np.where(low, b, a)
        by_own = (1 / own + scipy.special.digamma(own) - both + np.abs(u)) / own
        by_other = (scipy.special.digamma(other) - both) / own
        sign = np.where(low, 1.0, -1.0)
        by_a, by_b = np.where(low, by_own, by_other), np.where(low, by_other, by_own)
        return np.abs(u) > -_LOG_SMALL, sign * by_a, sign * by_b


def _log_odds(a: Array, b: Array, z: Array) -> Array:
    """log(x / (1 - x)) of the Beta's quantile x at scores z, from its lower tail."""
    x = scipy.special.betaincinv(a, b, scipy.special.ndtr(z))
    log_x = np.log(np.maximum(x, _SMALL))
    series = (scipy.special.log_ndtr(z) + np.log(a) + scipy.special.betaln(a, b)) / a
    # It may be 1 to all digits.
    return np.where(x > _SMALL, log_x - np.log1p(-np.minimum(x, 1 - 1e-16)), series)


class StudentT(Family):
    """u = t of Student's t with a degrees of freedom."""

    number = 2

    def quantile(self, z: Array, a: Array, b: Array) -> Array:
        """See `Family`."""
        size = -scipy.special.stdtrit(a, scipy.special.ndtr(-np.abs(z)))
        return np.where(z < 0, -size, size)

    def tails(self, u: Array, a: Array, b: Array) -> tuple[Array, Array]:
        """See `Family`."""
        return scipy.special.stdtr(a, u), scipy.special.stdtr(a, -u)

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


def _score_of(lower: Array, upper: Array) -> Array:
    return np.where(lower < upper, scipy.special.ndtri(lower), -scipy.special.ndtri(upper))


def _arrays(*tensors: Tensor) -> list[Array]:
    return [x.detach().double().cpu().numpy() for x in tensors]


def _back(found: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.array(found)).to(like).contiguous()


def _once(*arrays: Array) -> tuple[Array, ...]:
    """One number of each, where in each all are the same, as of a prior's middle."""
    if all(x.size > 1 and (x == x.flat[0]).all() for x in arrays):
        return tuple(x.reshape(-1)[:1] for x in arrays)
    return arrays


@torch.library.custom_op("bayesmeta::quantile", mutates_args=())
def _quantile(z: Tensor, a: Tensor, b: Tensor, family: int) -> Tensor:
    found = _families[family].quantile(*_once(*_arrays(z, a, b)))
    return _back(np.broadcast_to(found, z.shape), z)


@torch.library.custom_op("bayesmeta::score", mutates_args=())
def _scores(u: Tensor, a: Tensor, b: Tensor, family: int) -> Tensor:
    return _back(_score_of(*_families[family].tails(*_arrays(u, a, b))), u)


@torch.library.custom_op("bayesmeta::quantile_slopes", mutates_args=())
def _slopes(u: Tensor, a: Tensor, b: Tensor, family: int) -> tuple[Tensor, Tensor]:
    """du/da = -(dF/da) / f, and du/db, by central differences of the chances F."""
    of, given = _families[family], _once(*_arrays(u, a, b))
    x, p, q = given
    density = np.exp(of.log_density(*(torch.from_numpy(v) for v in given)).numpy())
    h, k = _STEP * p, _STEP * q
    with np.errstate(divide="ignore", invalid="ignore"):
        by_a = _change(of.tails(x, p + h, q), of.tails(x, p - h, q), h) / density
        by_b = np.zeros_like(by_a)
        if of.has_two:
            by_b = _change(of.tails(x, p, q + k), of.tails(x, p, q - k), k) / density
        far = of.far(x, p, q)
    if far is not None:
        by_a, by_b = np.where(far[0], far[1], by_a), np.where(far[0], far[2], by_b)
    return tuple(_back(np.broadcast_to(v, u.shape), u) for v in (by_a, by_b))  # type: ignore[return-value]


def _change(up: tuple[Array, Array], down: tuple[Array, Array], step: Array) -> Array:
    """Minus the derivative of P(U < u), by the smaller of the tails."""
    lower, upper = (a - b for a, b in zip(up, down, strict=True))
    return np.where(up[0] < up[1], -lower, upper) / (2 * step)


@_quantile.register_fake
@_scores.register_fake
def _like(z: Tensor, a: Tensor, b: Tensor, family: int) -> Tensor:
    return z.new_empty(z.shape)


@_slopes.register_fake
def _like_two(u: Tensor, a: Tensor, b: Tensor, family: int) -> tuple[Tensor, Tensor]:
    return u.new_empty(u.shape), u.new_empty(u.shape)


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
        held = (x.detach() for x in (u, a, b))
        found = torch.ops.bayesmeta.quantile_slopes(*held, ctx.family)
        by_a, by_b = (slope * x for x in found)
    return slope * by_z, by_a, by_b, None


_quantile.register_autograd(_backward, setup_context=_keep)
