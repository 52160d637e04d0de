"""Set encoders: a whole dataset of any size to a vector, the same for any order and any padding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_wholes
from bayesmeta.nets.net import Net
from bayesmeta.nets.perceptron import perceptron


@dataclass(frozen=True)
class Encoder(ABC):
    """A function of a task's datapoints as a set. Frozen hyperparameters; weights are given.

    Attributes:
        features: how many numbers a dataset becomes.
    """

    features: int = 64

    def __post_init__(self) -> None:
        check_wholes(self, "features")

    @property
    def places(self) -> int:
        """How many numbers of a datapoint, the first, are read as they are, not standardised."""
        return 0

    @abstractmethod
    def start(self, inputs: int, seed: int = 0) -> list[Tensor]:
        """The weights' start, for datapoints of so many numbers, drawn by a seed."""

    @abstractmethod
    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """The encoding.

        Args:
            weights: as `start` lays them out.
            rows: datapoints (tasks, data, inputs), about standardised but for `places`.
            mask: (tasks, data), which of them count; a task may be empty.

        Returns:
            (tasks, features).
        """


@dataclass(frozen=True)
class DeepSet(Encoder):
    """A network of each datapoint, averaged (Zaheer et al. 2017).

        h_i = 1/n_i sum_j f(x_ij, y_ij)

    Attributes:
        features: how many numbers a dataset becomes.
        width: hidden units of f.
        layers: hidden layers of f.
    """

    width: int = 64
    layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_wholes(self, "width")
        check_wholes(self, "layers", least=0)

    def start(self, inputs: int, seed: int = 0) -> list[Tensor]:
        """The weights of f."""
        return [self._net(inputs, seed).weights()]

    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """The mean over datapoints of f; 0 for an empty task."""
        each = self._net(rows.shape[-1])(weights[0], rows)
        count = mask.sum(1, keepdim=True).clamp(min=1)
        return torch.where(mask[..., None], each, 0.0).sum(1) / count

    def _net(self, inputs: int, seed: int = 0) -> Net:
        return perceptron(inputs, *[self.width] * self.layers, self.features, seed=seed)


@dataclass(frozen=True)
class Attentive(Encoder):
    """A network of each datapoint, pooled by attention of learned queries (Lee et al. 2019, PMA).

        h_i = concat over heads k of sum_j softmax_j(q_k . key(x_ij, y_ij)) value_k(x_ij, y_ij)

    Attributes:
        features: how many numbers a dataset becomes; a multiple of heads.
        width: hidden units of the networks.
        layers: hidden layers of them.
        heads: how many queries.
    """

    width: int = 64
    layers: int = 2
    heads: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_wholes(self, "width", "heads")
        check_wholes(self, "layers", least=0)
        if self.features % self.heads:
            raise ValueError(
                f"Attentive got features={self.features} and heads={self.heads}; features must be "
                "a multiple of heads"
            )

    def start(self, inputs: int, seed: int = 0) -> list[Tensor]:
        """The weights of keys and values, one network for both."""
        return [self._net(inputs, seed).weights()]

    def __call__(self, weights: Sequence[Tensor], rows: Tensor, mask: Tensor) -> Tensor:
        """Averages weighted by attention; 0 for an empty task."""
        found = self._net(rows.shape[-1])(weights[0], rows)
        scores, values = found.split([self.heads, self.features], -1)
        # A floor instead of -inf: a task without datapoints has weights all the same, of nothing.
        shares = scores.masked_fill(~mask[..., None], -1e4).softmax(1)
        each = values.unflatten(-1, (self.heads, -1)) * shares[..., None]
        return torch.where(mask[..., None, None], each, 0.0).sum(1).flatten(1)

    def _net(self, inputs: int, seed: int = 0) -> Net:
        hidden = [self.width] * self.layers
        return perceptron(inputs, *hidden, self.heads + self.features, seed=seed)
