"""perceptron: the small network that encoders and heads are made of."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import torch
from torch import nn

from bayesmeta.nets import Net
from bayesmeta.problem import isolated


@cache
def perceptron(*sizes: int, last_gain: float = 1.0, seed: int = 0) -> Net:
    """Linear layers between the sizes, with SiLU (Hendrycks & Gimpel 2016) between them.

    Args:
        sizes: inputs, hidden widths, outputs.
        last_gain: by how much the last layer's start is scaled: near 0, outputs start near 0.
        seed: of the start.
    """
    with isolated(seed), torch.no_grad():
        linear = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        for start in linear[-1].parameters():
            start.mul_(last_gain)
        layers = [layer for hidden in linear[:-1] for layer in (hidden, nn.SiLU())]
        return Net(nn.Sequential(*layers, linear[-1]))
