"""Stages of fine-tuning: which layers of phi move, for how many steps and at which rates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_number, check_wholes
from bayesmeta.nets.phi_layers import Layers


class Move(NamedTuple):
    """Steps in which some of phi moves.

    Attributes:
        title: what moves, in words.
        rate: of each number of phi, in multiples of lr, (d_phi,) or (tasks, d_phi); 0 is still.
        steps: how many.
        lr: the rate.
    """

    title: str
    rate: Tensor
    steps: int
    lr: float


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """A part of fine-tuning, frozen hyperparameters.

    Attributes:
        steps: of the optimiser; where a stage has several parts, of each.
        lr: the optimiser's rate.
    """

    steps: int = 100
    lr: float = 1e-3

    def __post_init__(self) -> None:
        check_wholes(self, "steps", least=0)
        check_number(self, "lr", self.lr, above=0)

    @abstractmethod
    def ways(self, layers: Layers) -> Sequence[Sequence[Move]]:
        """What moves, one after the other; of several ways each task takes what held-out data say.

        Several ways are of one move each.
        """


@dataclass(frozen=True, kw_only=True)
class Probe(Stage):
    """The last block alone: a linear probe, where that is a linear layer (Alain & Bengio 2017).

    What the layers before make of the data is computed once. Last is what the module registers
    last, as it stands in `FineTune.summary`; where it is called in another order, name the blocks.
    """

    lr: float = 1e-2

    def ways(self, layers: Layers) -> Sequence[Sequence[Move]]:
        """The last block."""
        return [[_move(self, layers, layers.blocks[-1])]]


@dataclass(frozen=True, kw_only=True)
class Full(Stage):
    """All of phi; with decay < 1 the earlier a block, the slower (Howard & Ruder 2018).

        rate of the k-th block from the output = lr * decay^k,   k = 0, 1, ...

    Attributes:
        decay: by how much the rate falls from one block to the one before it.
    """

    decay: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "decay", self.decay, above=0, most=1)

    def ways(self, layers: Layers) -> Sequence[Sequence[Move]]:
        """Everything, at its block's rate."""
        depth = torch.arange(len(layers.blocks)).flip(0)
        rate = (self.decay ** depth[:, None] * layers.each_block()).sum(0)
        slower = "" if self.decay == 1 else f", each block at {self.decay:g} of the next one's rate"
        return [[Move(f"all layers{slower}", rate, self.steps, self.lr)]]


@dataclass(frozen=True, kw_only=True)
class Gradual(Stage):
    """Block by block: one moves, then two, until all do (Howard & Ruder 2018).

    Attributes:
        from_input: whether to begin at the input instead of the output.
    """

    from_input: bool = False

    def ways(self, layers: Layers) -> Sequence[Sequence[Move]]:
        """As many as there are blocks."""
        order = layers.blocks if self.from_input else layers.blocks[::-1]
        return [[_move(self, layers, *order[: k + 1]) for k in range(len(order))]]


@dataclass(frozen=True)
class Surgical(Stage):
    """One block, the others stay as they were pre-trained (Lee et al. 2023).

    Attributes:
        block: its name. None tries all and chooses for each task by its log score on held-out data,
            to train the best one on all: those of FineTune(held_out=...), or thirds of each task
            (of each class, if the outcome has classes), each held out in turn, so that k blocks
            take as long as 2 k + 1. A task that has none to spare is refused. The paper's relative
            gradient norm, |d loss / d phi_block| / |phi_block|, errs too often (docs/transfer.md).
    """

    block: str | None = None

    def ways(self, layers: Layers) -> Sequence[Sequence[Move]]:
        """The block named, or each alone."""
        names = layers.blocks if self.block is None else [self.block]
        return [[_move(self, layers, name)] for name in names]


def _move(stage: Stage, layers: Layers, *names: str) -> Move:
    return Move(", ".join(names), layers.of(*names).float(), stage.steps, stage.lr)
