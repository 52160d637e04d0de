"""How far the draws of one posterior are from those of another, number by number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from bayesmeta.posterior.posterior import Posterior

# So many numbers, evenly apart, of phi that has more.
_MOST = 2000
_WITHIN = (0.05, 0.95)


@dataclass(frozen=True)
class Distance:
    """Of some numbers, in sds of the reference.

    Attributes:
        mean: how far means are off, root mean square.
        sd: sds over those of the reference, geometric mean.
        distance: Wasserstein's of order 1, mean over numbers.
        covers90: the share of the reference's draws between the 5% and the 95% quantile.
    """

    mean: float
    sd: float
    distance: float
    covers90: float

    def columns(self) -> dict[str, float]:
        """Its figures by name."""
        return asdict(self)


def between(posterior: Posterior, reference: Posterior) -> dict[str, Distance]:
    """Of theta and of phi, as the model has them, at the numbers that vary in the reference."""
    found = {}
    for level, own, other in (
        ("theta", posterior.theta, reference.theta),
        ("phi", posterior.phi, reference.phi),
    ):
        names = [name for name in other if name in own]
        if names:
            found[level] = _apart(_flat(own, names), _flat(other, names))
    return found


def between_halves(posterior: Posterior) -> dict[str, Distance]:
    """Of one half of the draws from the other: of chains, or of a single one's."""
    found = {}
    for level, values in (("theta", posterior.theta), ("phi", posterior.phi)):
        if values:
            draws = _flat(values, list(values))
            one, other = draws[: len(draws) // 2], draws[len(draws) // 2 :]
            found[level] = _apart(one, other)
    return found


def _flat(values: Mapping[str, Tensor], names: list[str]) -> Tensor:
    """Draws of all numbers, (draws, numbers); cells that are not there are left out."""
    parts = [x.double().cpu().reshape(x.shape[:2].numel(), -1) for x in (values[n] for n in names)]
    found = torch.cat(parts, 1)
    there = ~found[0].isnan()
    found = found[:, there]
    chosen = torch.linspace(0, found.shape[1] - 1, min(_MOST, found.shape[1])).long()
    return found[:, chosen]


def _apart(own: Tensor, other: Tensor) -> Distance:
    sd = other.std(0)
    varies = sd > 0
    own, other, sd = own[:, varies], other[:, varies], sd[varies]
    off = (own.mean(0) - other.mean(0)) / sd
    ratio = (own.std(0) if len(own) > 1 else torch.zeros_like(sd)) / sd
    low, high = own.quantile(torch.tensor(_WITHIN, dtype=own.dtype), 0)
    within = (other >= low) & (other <= high)
    return Distance(
        mean=float(off.square().mean().sqrt()),
        sd=float(ratio.log().mean().exp()),
        distance=float((_wasserstein(own, other) / sd).mean()),
        covers90=float(within.double().mean()),
    )


def _wasserstein(own: Tensor, other: Tensor) -> Tensor:
    """The integral of |F^{-1} - G^{-1}| for the draws of each number, (numbers,)."""
    count = max(len(own), len(other))
    levels = (torch.arange(count) + 0.5) / count
    sorted_own, sorted_other = (
        x.sort(0).values[(levels * len(x)).long().clamp(max=len(x) - 1)] for x in (own, other)
    )
    return (sorted_own - sorted_other).abs().mean(0)
