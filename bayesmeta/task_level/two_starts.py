"""R-hat of chains that were begun in two ways, and how far two sets of draws are apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy
import torch
from torch import Tensor

from bayesmeta.engine.mixing import rhat

# Chances of an alarm where nothing is wrong.
_FALSE = 1e-3
# In posterior sds, and as a factor: what matters of a difference.
_MEAN, _SD = 0.3, 1.35


def rhat_of_starts(phi: Tensor) -> Tensor:
    """R-hat of chains begun at the mode or where told, the even draws, and the prior; (tasks,).

    Args:
        phi: as `draw_conditional` gives it, (draws, tasks, d_phi).
    """
    half = len(phi) // 2
    kinds = torch.stack([phi[0 : 2 * half : 2], phi[1 : 2 * half : 2]])
    found = rhat(kinds.flatten(2).double().cpu().numpy()).reshape(phi.shape[1:])
    return torch.from_numpy(np.nan_to_num(found, nan=1.0)).amax(-1)


def most_rhat(draws: int, entries: int) -> float:
    """What R-hat of independent draws is below in all entries, but for a chance of 0.001.

    Four halves of n draws have R-hat^2 - 1 = (X / 3 - 1) / n, about, with X of chi-squared with 3
    degrees of freedom; it is 1.01 where that is less.
    """
    quantile = float(scipy.stats.chi2.isf(_FALSE / (2 * max(1, entries)), 3))
    return max(1.01, float(np.sqrt(1 + (quantile / 3 - 1) / max(1, draws // 4))))


class Apart(NamedTuple):
    """Draws beside others of the same tasks, each (tasks,).

    Attributes:
        mean: how far apart the means are, in the others' sds, at most over coordinates.
        sd: of the draws by the others', the one farthest from 1.
    """

    mean: Tensor
    sd: Tensor

    @property
    def matters(self) -> Tensor:
        """Whether a mean is 0.3 sd off, or an sd by a factor of 1.35."""
        return ~((self.mean < _MEAN) & (self.sd < _SD) & (self.sd > 1 / _SD))


def apart(phi: Tensor, others: Tensor) -> Apart:
    """How far draws are from others, both (draws, tasks, d_phi), of as many as there may be."""
    sd = others.std(0).clamp(min=1e-30)
    ratio = phi.std(0) / sd
    at = ratio.log().abs().argmax(-1, keepdim=True)
    mean = ((phi.mean(0) - others.mean(0)) / sd).abs().amax(-1)
    return Apart(mean, ratio.gather(-1, at)[..., 0])
