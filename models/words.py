"""words: which words tell intents apart, as weights that all tasks share.

A sentence's features x (see models.intents) are weighed, one weight a word or piece of a word, and
brought to one length s; a class is the mean of its sentences (prototypes, Snell, Swersky & Zemel
2017):

    z_ij = s (w * x_ij) / |w * x_ij|,   w > 0 and s > 0 are theta
    y_ij by the distance of z_ij to the prototypes, which are phi

So few numbers, one a word, are what can be learned from some domains of talk about others: a
network of all words learns what the words of its own domains mean, and is worse than no learning.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

import bayesmeta as bm

from . import intents, prototypes

# Of the embedding's length: where prototypes are as far apart as makes a class nearly certain.
_LOG_LENGTH = 2.0


class WordWeights(nn.Module):
    """Weighs each feature and brings the sentence to one length: (..., size) to (..., size).

    Args:
        size: the number of features.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.zeros(size))
        self.log_length = nn.Parameter(torch.tensor(_LOG_LENGTH))

    def forward(self, x: Tensor) -> Tensor:
        """The embedding z of features x."""
        return self.log_length.exp() * normalize(x * self.log_weight.exp(), dim=-1)


def words(ways: int, size: int = 1024) -> Callable[[bm.Tasks], None]:
    """The model of `ways` intents in sentences of `size` features."""
    return prototypes.of(bm.nets.Net(WordWeights(size)), size, ways, "text")


model = words(5)


def tasks(num_tasks: int = 100, shots: int = 1, seed: int = 0) -> bm.Tasks:
    """5-way episodes of the intents of all domains, with 5 queries each."""
    return intents.classes().episodes(num_tasks, ways=5, shots=shots, queries=5, seed=seed)
