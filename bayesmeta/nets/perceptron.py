"""perceptron: the small network that encoders and heads are made of."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import torch
from torch import nn

from bayesmeta.data.arguments import check_number, check_seed, check_whole
from bayesmeta.nets.net import Net
from bayesmeta.running.isolation import isolated, undisturbed


@lru_cache(maxsize=128)
def perceptron(*sizes: int, last_gain: float = 1.0, seed: int = 0) -> Net:
    """Linear layers between the sizes, with ReLU between them.

    Args:
        sizes: inputs, hidden widths, outputs.
        last_gain: by how much the last layer's start is scaled: near 0, outputs start near 0.
        seed: of the start.
    """
    for size in sizes:
        check_whole("perceptron", "sizes", size)
    check_number("perceptron", "last_gain", last_gain)
    check_seed("perceptron", seed)
    with undisturbed(), isolated(seed), torch.no_grad():
        linear = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes))
        keep_size(linear)
        for start in linear[-1].parameters():
            start.mul_(last_gain)
        layers = [layer for hidden in linear[:-1] for layer in (hidden, nn.ReLU())]
        return Net(nn.Sequential(*layers, linear[-1]))


def keep_size(module: nn.Module) -> None:
    """Start linear layers so that signals keep their size through ReLU (He et al. 2015).

    torch's own start shrinks what a dataset says by more than half a layer: neural processes then
    stay for long on a plateau, where they predict the mean of all functions.
    """
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.weight.normal_(0.0, (2.0 / part.in_features) ** 0.5)
