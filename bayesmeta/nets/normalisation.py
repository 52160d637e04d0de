"""Normalisation by the statistics of a task's own images, which keeps nothing between tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bayesmeta.data.arguments import check_number, check_whole
from bayesmeta.data.real_rows import real_rows


class TransductiveBatchNorm2d(nn.Module):
    """Batch normalisation by the statistics of the task's own images, support or query alike.

        y = weight * (x - mean) / sqrt(var + eps) + bias, mean and var over images and pixels

    Transductive: an image's output depends on the other images it is given with, so that results
    must say so (Bronskill et al. 2020). Padded cells of smaller tasks are left out. It is the
    protocol of MAML's published code. Plain operations, whose second derivatives under vmap are
    tested against finite differences.

    Args:
        channels: channels of the input (images, channels, height, width).
        eps: what is added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        check_whole(self, "channels", channels)
        check_number(self, "eps", eps, least=0)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Images (images, channels, height, width) to the same."""
        rows = _rows_of(x)
        if rows is None:
            variance, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
        else:
            share = _shares(rows, x)[:, None, None, None]
            mean = (share * x).sum((0, 2, 3), keepdim=True)
            variance = (share * (x - mean).square()).sum((0, 2, 3), keepdim=True)
        scale, shift = self.weight[:, None, None], self.bias[:, None, None]
        return scale * ((x - mean) * torch.rsqrt(variance + self.eps)) + shift


class RowBatchNorm2d(nn.Module):
    """The same outputs for images whose channels lie last in memory, as `MatrixConv2d` has them.

    Args:
        layer: what it stands for.
    """

    def __init__(self, layer: TransductiveBatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = layer.weight, layer.bias, layer.eps

    def forward(self, x: Tensor) -> Tensor:
        """Images (images, channels, height, width) to the same."""
        images, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        real = _rows_of(x)
        if real is None:
            offset = rows - rows.mean(0)
            variance = offset.square().mean(0)
        else:
            share = _shares(real, x).repeat_interleave(height * width)
            offset = rows - share @ rows
            variance = share @ offset.square()
        rate = torch.rsqrt(variance + self.eps)
        rows = offset * (rate * self.weight) + self.bias
        return rows.view(images, height, width, channels).permute(0, 3, 1, 2)


def _rows_of(x: Tensor) -> Tensor | None:
    """Which of the images are no padding, (images,); None where all are, or nobody knows."""
    rows = real_rows()
    return rows if rows is not None and rows.shape == x.shape[:1] else None


def _shares(rows: Tensor, x: Tensor) -> Tensor:
    """What each image's pixels count in a mean over those of all real ones, (images,)."""
    return rows / (rows.sum().clamp(min=1) * x[0, 0].numel()).to(x.dtype)
