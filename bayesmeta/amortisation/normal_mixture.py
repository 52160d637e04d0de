"""NormalMixture: a guide of several normals, for posteriors with several modes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bayesmeta.amortisation.guides import Anchor, FullNormal, Guide
from bayesmeta.data.arguments import check_wholes

_BASE = FullNormal()
# In units of the guide's places: how far the normals are from each other at the start.
_APART = 2.0


@dataclass(frozen=True)
class NormalMixture(Guide):
    """Normals with full covariances, all of the same share.

        q(phi) = 1/K sum_k N(phi; m_k, A_k^{-1})

    with m_k and A_k as `FullNormal` has them. With n = 0 each is the prior. The normals start at
    places of their own, so that each may go to a mode of its own; those that go to the same one
    give it a larger share, and a shape that is not normal.

    Attributes:
        components: K.
    """

    components: int = 4

    def __post_init__(self) -> None:
        check_wholes(self, "components")

    def numbers(self, d_phi: int) -> int:
        """Those of K normals."""
        return self.components * _BASE.numbers(d_phi)

    def draw(
        self,
        weights: Sequence[Tensor],
        numbers: Tensor,
        count: Tensor,
        anchor: Anchor,
        noise: Tensor,
    ) -> Tensor:
        """A draw of the normal that late digits of the noise choose."""
        each = [_BASE.draw((), own, count, anchor, noise) for own in self._split(numbers, noise)]
        # Chances in thousandths say which noise it is, and what is left is uniform all the same.
        rest = (1000 * torch.special.erf(noise[..., :1])).frac().abs()
        which = (rest * self.components).long().clamp(max=self.components - 1)
        return torch.stack(each, -1).gather(-1, which[..., None].expand(*noise.shape, 1))[..., 0]

    def log_prob(
        self, weights: Sequence[Tensor], numbers: Tensor, count: Tensor, anchor: Anchor, phi: Tensor
    ) -> Tensor:
        """The log of the mean density of the normals."""
        each = [_BASE.log_prob((), own, count, anchor, phi) for own in self._split(numbers, phi)]
        return torch.stack(each).logsumexp(0) - math.log(self.components)

    def _split(self, numbers: Tensor, like: Tensor) -> list[Tensor]:
        """The numbers of each normal, its place moved to where it starts."""
        d_phi = like.shape[-1]
        places = torch.from_numpy(_places(self.components, d_phi)).to(numbers)
        return [
            torch.cat([own[..., :d_phi] + place, own[..., d_phi:]], -1)
            for own, place in zip(numbers.chunk(self.components, -1), places, strict=True)
        ]


def _places(components: int, d_phi: int) -> np.ndarray:
    """Where each normal starts, (components, d_phi): on a line, or anywhere of more dimensions."""
    # From numpy: what torch draws would be drawn anew whenever a captured graph runs.
    if d_phi == 1:
        return _APART * np.linspace(-1, 1, components)[:, None]
    return _APART * np.random.default_rng(0).normal(size=(components, d_phi))
