"""What is minimised by training, and what training has come to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bayesmeta.training.optimiser import Parameters
from bayesmeta.training.stepper import Loss, Noise


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        start: the parameters, which training changes in place.
        loss_of: makes, for a number of tasks, their mean loss(*shared, *rows, *noise, *data).
        noise: the random numbers of one step for so many tasks.
        held_out: the loss of tasks that are not trained on, by the shared parameters.
        d_phi: numbers a task beside its data, by which memory is reckoned.
        inner_lr: the rate of the gradient steps inside the loss, if there are any.
        probed: of how many of the shared parameters the slopes are asked for at the end.
        title: what the progress bar says.
    """

    start: Parameters
    loss_of: Callable[[int], Loss]
    noise: Callable[[int, torch.Generator], Noise] = lambda size, generator: Noise()
    held_out: Callable[[Sequence[Tensor]], float] | None = None
    d_phi: int = 0
    inner_lr: float | None = None
    probed: int = 0
    title: str = "training"


@dataclass
class Trained:
    """What training has come to.

    Attributes:
        losses: one a step.
        validation: (step, loss of the validation tasks) in order.
        best: the shared parameters of the best validation.
        compiled: whether steps are compiled.
        interrupted: a sentence on where training was stopped, if it was.
        slopes: of the probed parameters at the end, each (batches, ...): zero on average where
            training has converged.
    """

    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    best: list[Tensor] = field(default_factory=list)
    compiled: bool = False
    interrupted: tuple[str, ...] = ()
    slopes: list[Tensor] = field(default_factory=list)

    @property
    def notes(self) -> tuple[str, ...]:
        """Where training was stopped, and which parameters were kept, where there was a choice."""
        if not self.validation:
            return self.interrupted
        step, loss = min(self.validation, key=lambda pair: pair[1])
        return (
            *self.interrupted,
            f"the validation tasks' loss was lowest, {loss:.4g}, at step {step} of "
            f"{len(self.losses)}: those parameters were kept",
        )
