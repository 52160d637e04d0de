"""SetTransformer: an encoder whose datapoints attend to each other before they are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from bayesmeta.amortisation.encoders import Encoder
from bayesmeta.data.arguments import check_wholes
from bayesmeta.nets.attention import Attention
from bayesmeta.nets.net import Net
from bayesmeta.nets.perceptron import keep_size
from bayesmeta.running.isolation import isolated

# A floor instead of -inf: a task without datapoints has weights all the same, of nothing.
_FLOOR = -1e4


@dataclass(frozen=True)
class SetTransformer(Encoder):
    """Self-attention among the datapoints, then attention of learned queries (Lee et al. 2019).

    Attributes:
        features: how many numbers a dataset becomes; a multiple of slots.
        slots: learned queries, each of which gives features / slots numbers.
        width: of a datapoint's vector; a multiple of heads.
        heads: of attention.
        blocks: of self-attention; 0 leaves attention by the queries alone.
    """

    slots: int = 8
    width: int = 64
    heads: int = 4
    blocks: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_wholes(self, "slots", "width", "heads")
        check_wholes(self, "blocks", least=0)
        if self.features % self.slots or self.width % self.heads:
            raise ValueError(f"{self!r}: features must be a multiple of slots, and width of heads")

    def start(self, inputs: int, seed: int = 0) -> list[Tensor]:
        """All weights."""
        return [_net(self, inputs, seed).weights()]

    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """What the queries found; 0 for an empty task."""
        counts = mask[..., None]
        # What padding holds may be anything, and attention multiplies it by zero.
        given = torch.cat([torch.where(counts, rows, 0.0), counts.to(rows.dtype)], -1)
        found = _net(self, rows.shape[-1], 0)(weights[0], given)
        return torch.where(mask.any(1, keepdim=True), found, 0.0)


class _SetTransformer(nn.Module):
    def __init__(self, hyper: SetTransformer, inputs: int) -> None:
        super().__init__()
        width, heads = hyper.width, hyper.heads
        self.embed = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Attention(width, heads) for _ in range(hyper.blocks))
        self.queries = nn.Parameter(torch.randn(hyper.slots, width))
        self.pool = Attention(width, heads)
        self.out = nn.Linear(width, hyper.features // hyper.slots)

    def forward(self, given: Tensor) -> Tensor:
        """Of rows with their mask (data, inputs + 1), (features,)."""
        bias = _FLOOR * (1.0 - given[:, -1])
        each = self.embed(given[:, :-1])
        for block in self.blocks:
            each = block(each, each, bias)
        found: Tensor = self.out(self.pool(self.queries, each, bias)).flatten()
        return found


@lru_cache(maxsize=128)
def _net(hyper: SetTransformer, inputs: int, seed: int) -> Net:
    with isolated(seed):
        module = _SetTransformer(hyper, inputs)
        keep_size(module)
        return Net(module, reads_task=True)
