"""SetTransformer: an encoder whose datapoints attend to each other before they are pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from bayesmeta.amortisation.encoders import Encoder
from bayesmeta.model.handlers import isolated
from bayesmeta.nets.net import Net
from bayesmeta.nets.perceptron import keep_size

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
        if self.features % self.slots or self.width % self.heads:
            raise ValueError(f"{self!r}: features must be a multiple of slots, and width of heads")

    def start(self, inputs: int) -> list[Tensor]:
        """All weights."""
        return [_net(self, inputs).weights()]

    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """What the queries found; 0 for an empty task."""
        counts = mask[..., None]
        # What padding holds may be anything, and attention multiplies it by zero.
        given = torch.cat([torch.where(counts, rows, 0.0), counts.to(rows.dtype)], -1)
        found = _net(self, rows.shape[-1])(weights[0], given)
        return torch.where(mask.any(1, keepdim=True), found, 0.0)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) with a residual network after it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_to, self.norm_from, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.net = nn.Sequential(
            nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        )

    def forward(self, to: Tensor, source: Tensor, bias: Tensor) -> Tensor:
        """What `to` (n, width) reads of `source` (m, width); bias (m,) is added to scores."""
        read = self.norm_from(source)
        q = self.query(self.norm_to(to)).unflatten(-1, (self.heads, -1)).transpose(0, 1)
        k, v = (
            f(read).unflatten(-1, (self.heads, -1)).transpose(0, 1) for f in (self.key, self.value)
        )
        shares = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(-1)
        found = to + self.out((shares @ v).transpose(0, 1).flatten(1))
        result: Tensor = found + self.net(self.norm(found))
        return result


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


@cache
def _net(hyper: SetTransformer, inputs: int) -> Net:
    with isolated(seed=0):
        module = _SetTransformer(hyper, inputs)
        keep_size(module)
        return Net(module)
