"""Conv2d as one matrix product, which a CPU core does faster for the few images of one task."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Window(NamedTuple):
    """Kernel, stride and padding, each of height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def padded(self, height: int, width: int) -> tuple[int, int]:
        return height + 2 * self.padding[0], width + 2 * self.padding[1]

    def output(self, height: int, width: int) -> tuple[int, int]:
        tall, wide = self.padded(height, width)
        return (
            (tall - self.kernel[0]) // self.stride[0] + 1,
            (wide - self.kernel[1]) // self.stride[1] + 1,
        )


class _Patches(torch.autograd.Function):
    """Images (n, height, width, c) to the patches under the kernel, (n * places, kernel * c).

    Its derivative is `_Images`, whose derivative is this again: linear maps, one the transpose of
    the other, so that derivatives of any order stay two operations.
    """

    @staticmethod
    def forward(ctx: Any, images: Tensor, window: _Window) -> Tensor:
        ctx.shape, ctx.window = images.shape, window
        n, height, width, c = images.shape
        (kh, kw), (sh, sw), (ph, pw) = window
        tall, wide = window.padded(height, width)
        rows, columns = window.output(height, width)
        padded = functional.pad(images, (0, 0, pw, pw, ph, ph)).contiguous()
        strides = (tall * wide * c, sh * wide * c, sw * c, wide * c, 1)
        patches = padded.as_strided((n, rows, columns, kh, kw * c), strides)
        return patches.reshape(n * rows * columns, kh * kw * c)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return _Images.apply(slope.contiguous(), ctx.shape, ctx.window), None


class _Images(torch.autograd.Function):
    """Patches to the images that hold their sum."""

    @staticmethod
    def forward(ctx: Any, patches: Tensor, shape: torch.Size, window: _Window) -> Tensor:
        ctx.window = window
        n, height, width, c = shape
        (kh, kw), (sh, sw), (ph, pw) = window
        tall, wide = window.padded(height, width)
        rows, columns = window.output(height, width)
        parts = patches.view(n, rows, columns, kh, kw, c)
        whole = patches.new_zeros(n, tall, wide, c)
        for i in range(kh):
            for j in range(kw):
                down = slice(i, i + sh * (rows - 1) + 1, sh)
                right = slice(j, j + sw * (columns - 1) + 1, sw)
                whole[:, down, right].add_(parts[:, :, :, i, j])
        return whole[:, ph : tall - ph, pw : wide - pw].contiguous()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        return _Patches.apply(slope.contiguous(), ctx.window), None, None


class MatrixConv2d(nn.Module):
    """A Conv2d with the same parameters and outputs, by patches times weights.

    Images are (n, channels, height, width), as ever, but lie in memory with the channels last.

    Args:
        layer: what it stands for; `stands_for` says whether it can.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        assert isinstance(layer.padding, tuple)
        height, width = layer.kernel_size
        self._window = _Window((height, width), _pair(layer.stride), _pair(layer.padding))

    def forward(self, images: Tensor) -> Tensor:
        """The convolution, (n, channels, height, width)."""
        n, _, height, width = images.shape
        patches = _Patches.apply(images.permute(0, 2, 3, 1), self._window)
        weights = self.weight.permute(2, 3, 1, 0).reshape(patches.shape[1], -1)
        product = patches @ weights
        if self.bias is not None:
            product = product + self.bias
        rows, columns = self._window.output(height, width)
        return product.view(n, rows, columns, -1).permute(0, 3, 1, 2)


def stands_for(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a layer is a convolution that `MatrixConv2d` computes."""
    return (
        type(layer) is nn.Conv2d
        and layer.groups == 1
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
    )


def _pair(numbers: tuple[int, ...]) -> tuple[int, int]:
    one, other = numbers
    return one, other
