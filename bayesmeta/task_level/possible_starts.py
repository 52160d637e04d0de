"""A phi to start from at which the data are possible, where a support has edges that are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bayesmeta.engine.noise import normal
from bayesmeta.task_level.conditional_graphs import Conditional

_TRIES = 200
# How far from the middle of the prior, in its sd: nearer ones come as often as further ones.
_FAR = (0.3, 1.0, 3.0, 10.0)


def possible(
    conditional: Conditional, theta: Tensor, phi: Tensor, data: Sequence[Tensor] | None = None
) -> Tensor:
    """phi (draws, tasks, d_phi), moved about at random where its density is zero until it is not.

    From a density of zero, whose gradient is that of the prior, no search climbs. The random
    numbers are the same at each call.
    """
    if not conditional.density.reading.bounded or not phi.shape[-1]:
        return phi
    middle, generator = phi, torch.Generator().manual_seed(0)
    (value,) = conditional.at(conditional.value, theta, phi, data=data)
    (sd,) = conditional.at(conditional.spread, theta, phi, data=data)
    impossible = ~torch.isfinite(value)
    for k in range(_TRIES):
        if not impossible.any():
            break
        noise = normal(phi.shape[1:], phi.dtype, generator)
        other = middle + _FAR[k % len(_FAR)] * sd * noise
        (value,) = conditional.at(conditional.value, theta, other, data=data)
        better = impossible & torch.isfinite(value)
        phi, impossible = torch.where(better[..., None], other, phi), impossible & ~better
    return phi
