"""attentive_process: functions by a decoder that attends, at each x, to a function's own slots.

    z_i ~ N(0, I) in slots,   y_ij ~ N(mean(x_ij, z_i; theta), sd(x_ij, z_i; theta)^2)

Attentive neural processes (Kim et al. 2019) attend to the datapoints themselves, however many there
are; here they are first read into a fixed number of slots, so that phi_i has a size (Feng et al.
2023). With phi=bm.Amortised(bm.SetTransformer(...)) an encoder fills the slots.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta.models.neural_process import exact_log_score, functions, tasks

__all__ = ["attentive_process", "exact_log_score", "model", "tasks"]


class Decoder(nn.Module):
    """Of rows (x, z), z the same in each, (data, inputs + slots * width): mean and spread."""

    def __init__(self, inputs: int, slots: int, slot: int, width: int, layers: int) -> None:
        super().__init__()
        self.inputs, self.slots = inputs, slots
        self.embed = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
        self.lift = nn.Linear(slot, width)
        self.places = nn.Parameter(torch.randn(slots, width))
        self.layers = nn.ModuleList(bm.nets.Attention(width, 4) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2))

    def forward(self, given: Tensor) -> Tensor:
        """(data, 2)."""
        source = self.lift(given[0, self.inputs :].unflatten(0, (self.slots, -1))) + self.places
        found = self.embed(given[:, : self.inputs])
        free = found.new_zeros(self.slots)
        for layer in self.layers:
            found = layer(found, source, free)
        result: Tensor = self.out(found)
        return result


def attentive_process(
    inputs: int = 1,
    slots: int = 16,
    slot: int = 16,
    width: int = 64,
    layers: int = 2,
    seed: int = 0,
) -> Callable[[bm.Tasks], None]:
    """The model for x["x"] of shape (tasks, data, inputs) and y of shape (tasks, data)."""
    with bm.nets.isolated(seed):
        decoder = Decoder(inputs, slots, slot, width, layers)
        bm.nets.keep_size(decoder)
    # It reads z of the first datapoint, which is that of all.
    decode = bm.nets.Net(decoder, reads_task=True)
    return functions(decode, slots * slot)


model = attentive_process()
