"""Adam's settings, and the learning rate that they give at each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from bayesmeta.data.arguments import check_number, check_whole, check_wholes


@dataclass(frozen=True)
class Adam:
    """How to train: Adam (Kingma & Ba 2015), a constant rate, then a cosine decay.

    Attributes:
        lr: the learning rate before the decay: of theta in posterior standard deviations where a
            pilot finds them (`theta/pilot`), and else on its unconstrained scale.
        steps: at most this many steps, decay included.
        decay: the last part of the steps, over which the rate falls to a thousandth of lr.
        patience: the decay starts early once the mean loss of this many steps is no lower than that
            of as many before, by their standard error; 0 never does.
        compile: whether to compile the step; None decides by what it would save.
        chunk_size: tasks whose gradients are computed together, at most; None chooses by free
            memory, and one by one where each task convolves with weights of its own, on a CPU.
            The result is the same up to rounding.
        validations: how often fit's validation tasks are scored, evenly spread over the steps.
    """

    lr: float = 0.02
    steps: int = 4000
    decay: float = 0.4
    patience: int = 300
    compile: bool | None = None
    chunk_size: int | None = None
    validations: int = 20

    def __post_init__(self) -> None:
        check_wholes(self, "steps", "validations")
        check_wholes(self, "patience", least=0)
        check_whole(self, "chunk_size", self.chunk_size, or_none=True)
        check_number(self, "lr", self.lr, above=0)
        check_number(self, "decay", self.decay, least=0, most=1)


class Schedule:
    """A constant rate until the loss no longer falls, then a cosine decay.

    Attributes:
        decay_from: the step at which the decay starts.
    """

    def __init__(self, adam: Adam) -> None:
        self.adam = adam
        self.length = max(1, round(adam.decay * adam.steps))
        self.decay_from = adam.steps - self.length

    def rate(self, losses: Sequence[float]) -> float:
        """The rate of the step whose loss is the last one."""
        done, patience = len(losses) - 1, self.adam.patience
        if patience and done < self.decay_from and done >= 2 * patience and done % 50 == 0:
            old = torch.tensor(losses[-2 * patience : -patience], dtype=torch.float64)
            new = torch.tensor(losses[-patience:], dtype=torch.float64)
            error = ((old.var() + new.var()) / patience).sqrt()
            if new.mean() >= old.mean() - error:
                self.decay_from = done
        share = min(max(done - self.decay_from, 0) / self.length, 1.0)
        return self.adam.lr * (1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * share)))

    def is_over(self, losses: Sequence[float]) -> bool:
        """Whether the decay has ended."""
        return len(losses) >= self.decay_from + self.length
