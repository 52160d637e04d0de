"""Attention: what one set of vectors reads of another."""

from __future__ import annotations

from torch import Tensor, nn

from bayesmeta.data.arguments import check_whole


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) with a residual network after it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        check_whole(self, "width", width)
        check_whole(self, "heads", heads)
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
