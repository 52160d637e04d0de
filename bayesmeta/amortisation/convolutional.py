"""Convolutional: an encoder that writes datapoints onto a grid and reads it by convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from bayesmeta.amortisation.encoders import Encoder
from bayesmeta.data.arguments import check_number, check_wholes
from bayesmeta.nets.grid import nearness
from bayesmeta.nets.net import Net
from bayesmeta.running.isolation import isolated


@dataclass(frozen=True)
class Convolutional(Encoder):
    """Datapoints as a function of place, read by a U-Net (Gordon et al. 2020).

        h_i = CNN(d_i, s_i / d_i),   d_i(u) = sum_j k(u - x_ij),   s_i(u) = sum_j y_ij k(u - x_ij)

    at the nodes u of a grid, for the first `dims` numbers x_ij of a datapoint, its place, and the
    others y_ij; k falls linearly to 0 at the next node (`nearness`). What h_i says of a place
    depends on the datapoints around it, wherever that is; a network of all datapoints at once has
    to learn that place by place. bm.Amortised(encoder, bm.Delta(), layers=None) makes h_i phi_i
    itself.

    Attributes:
        features: how many numbers a dataset becomes: so many maps of all nodes.
        dims: how many numbers of a datapoint are its place, 1 or 2: the columns that come first in
            alphabetical order.
        grid: nodes along each of them, a multiple of 4.
        reach: the outermost nodes lie at -reach and reach, in units of x; datapoints further out
            are not seen.
        width: channels at full resolution.
    """

    features: int = 8 * 28**2
    dims: int = 2
    grid: int = 28
    reach: float = 1.0
    width: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_wholes(self, "dims", "grid", "width")
        check_number(self, "reach", self.reach, above=0)
        if self.dims not in (1, 2) or self.grid % 4 or self.features % self.grid**self.dims:
            raise ValueError(
                f"{self!r}: dims must be 1 or 2, grid a multiple of 4, and features one of "
                "grid^dims"
            )

    @property
    def places(self) -> int:
        """Places are read in units of x, those of the grid."""
        return self.dims

    def start(self, inputs: int, seed: int = 0) -> list[Tensor]:
        """The weights of the U-Net."""
        return [_net(self, inputs - self.dims, seed).weights()]

    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """The maps, flat; 0 for an empty task."""
        at, values = rows.split([self.dims, rows.shape[-1] - self.dims], -1)
        near = [nearness(place, self.grid, self.reach) for place in at.unbind(-1)]
        counts = mask.to(rows.dtype)[..., None]
        # What padding holds may be anything, and is multiplied by zero.
        given = torch.cat([counts, torch.where(mask[..., None], values, 0.0)], -1)
        path = "tju,tjc->tcu" if self.dims == 1 else "tju,tjv,tjc->tcuv"
        density, signal = torch.einsum(path, *near, given).split([1, values.shape[-1]], 1)
        # Near a single datapoint the quotient is its value, at whatever distance.
        field = torch.cat([density, signal / density.clamp(min=1e-3)], 1)
        maps = _net(self, values.shape[-1], 0)(weights[0], field[None])[0].flatten(1)
        return torch.where(mask.any(1, keepdim=True), maps, 0.0)


class _UNet(nn.Module):
    """Convolutions at full, half and quarter resolution, joined (Ronneberger et al. 2015)."""

    def __init__(self, hyper: Convolutional, values: int) -> None:
        super().__init__()
        conv = nn.Conv1d if hyper.dims == 1 else nn.Conv2d
        w = hyper.width
        self.enter, self.fine = conv(1 + values, w, 5, padding=2), conv(w, w, 3, padding=1)
        self.shrink = conv(w, 2 * w, 3, 2, padding=1)
        self.middle = conv(2 * w, 2 * w, 3, padding=1)
        self.shrink_more = conv(2 * w, 2 * w, 3, 2, padding=1)
        self.coarse = conv(2 * w, 2 * w, 3, padding=1)
        self.join_middle = conv(4 * w, 2 * w, 3, padding=1)
        self.join_fine = conv(3 * w, w, 3, padding=1)
        self.out = conv(w, hyper.features // hyper.grid**hyper.dims, 1)
        self.grow = nn.Upsample(scale_factor=2)
        for part in self.modules():
            if isinstance(part, nn.Conv1d | nn.Conv2d):
                # As `keep_size` starts linear layers.
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")

    def forward(self, field: Tensor) -> Tensor:
        """(tasks, 1 + values, grid, ...) to (tasks, maps, grid, ...)."""
        fine = self.fine(self.enter(field).relu()).relu()
        middle = self.middle(self.shrink(fine).relu()).relu()
        coarse = self.coarse(self.shrink_more(middle).relu()).relu()
        middle = self.join_middle(torch.cat([self.grow(coarse), middle], 1)).relu()
        fine = self.join_fine(torch.cat([self.grow(middle), fine], 1)).relu()
        result: Tensor = self.out(fine)
        return result


@lru_cache(maxsize=128)
def _net(hyper: Convolutional, values: int, seed: int) -> Net:
    with isolated(seed):
        return Net(_UNet(hyper, values), reads_task=True)
