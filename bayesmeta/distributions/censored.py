"""Censored: an outcome of which some values are known to be beyond a limit, and no more."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import TransformedDistribution, constraints
from torch.distributions.utils import broadcast_all

from bayesmeta.distributions.samplers import draw
from bayesmeta.distributions.wrappers import base_distribution


class Censored(TorchDistribution):
    """y = min(max(z, lower), upper), z from a distribution: a limit stands for all beyond it.

        log p(y) = log f(y)             lower < y < upper
                   log F(lower)         y = lower
                   log (1 - F(upper))   y = upper

    for the density f and the distribution function F of z: the Tobit model of Normal z (Tobin
    1958), survival analysis with a limit for each datapoint. Its draws, and so predictions, are
    censored as the data are; give infinite limits to predict z itself.

        days = dist.Weibull(scale, shape)
        pyro.sample("y", bm.Censored(days, upper=tasks.x["followed"]), obs=tasks.y)

    What is within 16 units of rounding of a limit is at it, as the limit may have been computed in
    another way; the posterior's notes say how many limits are reached.

    Args:
        base: of z; univariate, with a `cdf`.
        lower, upper: limits, one or one a datapoint; infinite where there is none.

    Raises:
        ValueError: where base has an event dimension or no `cdf`.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        base: Any,
        lower: Tensor | float = -torch.inf,
        upper: Tensor | float = torch.inf,
        validate_args: bool | None = None,
    ) -> None:
        _check(base)
        middle = torch.zeros(base.batch_shape)
        self.lower, self.upper, shaped = broadcast_all(lower, upper, middle)
        self.base = base.expand(shaped.shape)
        super().__init__(shaped.shape, validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        """From limit to limit, with both."""
        lower, upper = self.lower - _near(self.lower), self.upper + _near(self.upper)
        return constraints.interval(lower, upper)

    def at_limits(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Whether values are at the lower limit or below, and at the upper one or above."""
        below = value <= self.lower + _near(self.lower)
        return below, value >= self.upper - _near(self.upper)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Censored:
        """The same in a larger batch."""
        lower, upper = (x.expand(batch_shape) for x in (self.lower, self.upper))
        return type(self)(self.base.expand(batch_shape), lower, upper)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        """Censored draws."""
        drawn = draw(self.base, sample_shape)
        return drawn.clamp(self.lower.to(drawn), self.upper.to(drawn))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density between the limits, and the log probability of a limit."""
        # At a limit the tails are those of the value itself, which is finite as limits may not be.
        below, above = log_tails(self.base, value)
        is_low, is_high = self.at_limits(value)
        found = torch.where(is_low, below, self.base.log_prob(value))
        found = torch.where(is_high, above, found)
        return torch.where(self.support.check(value), found, -torch.inf)

    def cdf(self, value: Tensor) -> Tensor:
        """P(y <= value)."""
        found = log_tails(self.base, value)[0].exp()
        found = torch.where(value < self.lower, 0.0, found)
        return torch.where(value >= self.upper, 1.0, found)


def _near(limit: Tensor) -> Tensor:
    """What numbers that are computed in two ways may differ by; 0 at infinity."""
    size = torch.where(limit.isfinite(), limit.abs(), 0.0)
    return 16 * torch.finfo(limit.dtype).eps * size


def log_tails(fn: Any, value: Tensor) -> tuple[Tensor, Tensor]:
    """log F(value) and log (1 - F(value)), far into both tails where the family allows."""
    fn = base_distribution(fn)
    if isinstance(fn, torch.distributions.Normal):
        z = (value - fn.loc) / fn.scale
        return _log_normal_cdf(z), _log_normal_cdf(-z)
    if isinstance(fn, torch.distributions.Exponential):
        log_above = -fn.rate * value
        return torch.log(-torch.expm1(log_above)), log_above
    if _is_pushed(fn):
        sign = 1
        for transform in reversed(fn.transforms):
            sign, value = sign * transform.sign, transform.inv(value)
        below, above = log_tails(fn.base_dist, value)
        first = torch.as_tensor(sign, device=below.device) > 0
        return torch.where(first, below, above), torch.where(first, above, below)
    chance = fn.cdf(value)
    least = torch.finfo(chance.dtype).tiny
    return chance.clamp(min=least).log(), (1 - chance).clamp(min=least).log()


def _log_normal_cdf(z: Tensor) -> Tensor:
    """torch.special.log_ndtr, which torch.vmap takes apart row by row."""
    low = z < 1
    left, right = torch.where(low, z, 0.0), torch.where(low, 0.0, z)
    below = torch.log(torch.special.erfcx(-left / math.sqrt(2)) / 2) - left.square() / 2
    return torch.where(low, below, torch.log1p(-torch.erfc(right / math.sqrt(2)) / 2))


def _check(base: Any) -> None:
    name = type(base_distribution(base)).__name__
    if base.event_shape:
        raise ValueError(
            f"bm.Censored is of one number, but {name} has event shape {tuple(base.event_shape)}; "
            "leave out .to_event(), or make its parts outcomes of their own"
        )
    if not _has_cdf(base):
        raise ValueError(
            f"bm.Censored needs the distribution function of {name}, which torch does not have; "
            "take one with a cdf, as dist.Normal, dist.LogNormal, dist.Weibull or dist.Exponential"
        )


def _has_cdf(fn: Any) -> bool:
    fn = base_distribution(fn)
    if _is_pushed(fn):
        return _has_cdf(fn.base_dist) and all(t.bijective for t in fn.transforms)
    return type(fn).cdf is not torch.distributions.Distribution.cdf


def _is_pushed(fn: Any) -> bool:
    """Whether its distribution function is that of its base, at what the value comes from."""
    general = TransformedDistribution.cdf
    return isinstance(fn, TransformedDistribution) and type(fn).cdf is general
