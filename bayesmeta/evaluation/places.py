"""Places of outcomes among predictions, and how far they are from uniform by more than chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Numbers that are ordered together.
_AT_ONCE = 4_000_000
CUTS = torch.linspace(0.05, 0.95, 37, dtype=torch.float64)
_RANGE, _END = (0.05, 0.95), 1e-6


@dataclass(frozen=True)
class Strays:
    """How far places are from uniform, and how far they are by chance.

    Attributes:
        covers50, covers90: shares in central intervals, and their 5% and 95% quantile by chance.
        bias: the mean place less 1/2, in the same way.
        spread: the sd of the places' normal quantiles, about 1, in the same way.
        p: how seldom chance strays as far.
        low, high: between which shares below `CUTS` are, at all together, in 95 of 100 cases.
    """

    covers50: tuple[float, float, float]
    covers90: tuple[float, float, float]
    bias: tuple[float, float, float]
    spread: tuple[float, float, float]
    p: float
    low: Tensor
    high: Tensor

    @property
    def how(self) -> str:
        """In words, of predictions."""
        (bias, low, high), found = self.bias, []
        if not low <= bias <= high:
            found.append("too low" if bias > 0 else "too high")
        spread, low, high = self.spread
        if not low <= spread <= high:
            found.append("too narrow" if spread > high else "too wide")
        return " and ".join(found) or "of another shape"


def places(outcomes: Tensor, predicted: Tensor, seed: int) -> Tensor:
    """The place of each outcome among predictions, and of each prediction among all others.

    With L predictions, r below and t equal ones, (r + u (t + 1)) / (L + 1), u uniform: where all
    L + 1 are draws of one distribution it is uniform in 0..1, of counts too (Dawid 1984; Czado,
    Gneiting & Held 2009).

    Args:
        outcomes: (datapoints,).
        predicted: draws of them, (draws, datapoints).
        seed: of u.

    Returns:
        (1 + draws, datapoints), that of outcomes first.
    """
    generator = torch.Generator().manual_seed(seed)
    whole = torch.cat([outcomes[None], predicted])
    parts = whole.split(max(1, _AT_ONCE // len(whole)), 1)
    return torch.cat([_placed(part, generator) for part in parts], 1)


def _placed(whole: Tensor, generator: torch.Generator) -> Tensor:
    """Equal ones in an order by chance, of their own in each column."""
    shuffled = torch.rand(whole.shape, generator=generator).argsort(0)
    order = shuffled.gather(0, torch.argsort(whole.gather(0, shuffled), dim=0, stable=True))
    steps = torch.arange(len(whole), dtype=torch.float64)[:, None]
    uniform = torch.rand(whole.shape, generator=generator, dtype=torch.float64)
    found = torch.empty_like(uniform)
    return found.scatter_(0, order, (steps + uniform) / len(whole))


def strays(found: Tensor) -> Strays:
    """How far the first set of places strays, beside the others, which stray by chance.

    Sets are compared by the largest of standard scores, of shares below each of `CUTS`, the mean
    place and the spread: p is the share of sets whose largest is as large.

    Args:
        found: of `places`, (1 + sets, datapoints).
    """
    aside = (found - 0.5).abs()
    covers50, covers90 = ((aside < level / 2).double().mean(1) for level in (0.5, 0.9))
    # Of normal quantiles, as a shift leaves their spread as it is.
    quantiles = torch.special.ndtri(found.clamp(_END, 1 - _END))
    bias, spread = found.mean(1) - 0.5, quantiles.std(1, correction=0)
    below = torch.stack([(found < cut).double().mean(1) for cut in CUTS], 1)
    features = torch.cat([below, bias[:, None], spread[:, None]], 1)
    centre, unit = features.mean(0), features.std(0).clamp(min=1e-12)
    scores = ((features - centre) / unit).abs()
    largest = scores.amax(1)
    by_chance = scores[1:, : len(CUTS)].amax(1).quantile(0.95) * unit[: len(CUTS)]
    return Strays(
        _beside(covers50),
        _beside(covers90),
        _beside(bias),
        _beside(spread),
        float((largest >= largest[0]).double().mean()),
        (centre[: len(CUTS)] - by_chance).clamp(min=0),
        (centre[: len(CUTS)] + by_chance).clamp(max=1),
    )


def _beside(figures: Tensor) -> tuple[float, float, float]:
    """The first, and the range of the others."""
    levels = torch.tensor(_RANGE, dtype=figures.dtype)
    low, high = figures[1:].quantile(levels).tolist()
    return float(figures[0]), low, high
