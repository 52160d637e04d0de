"""What of a run of training is stored in its checkpoint, when, and how it is taken up again."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayesmeta.training import checkpoint, interrupt
from bayesmeta.training.adam import Schedule
from bayesmeta.training.checkpoint import CheckpointError
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.objective import Trained
from bayesmeta.training.optimiser import Optimiser


class Store:
    """The checkpoint of a run, if it has one.

    Args:
        options: where it is, how often it is written, and what tells the run from others.
        optimiser, schedule, reached: what is stored, and changed when a run is taken up.

    Attributes:
        steps: how many steps there are in the checkpoint; -1 without one.
    """

    def __init__(
        self, options: FitOptions, optimiser: Optimiser, schedule: Schedule, reached: Trained
    ) -> None:
        self.options, self.folder = options, options.checkpoint
        self.optimiser, self.schedule, self.reached = optimiser, schedule, reached
        self.steps = -1
        self._saved_at, self._has_warned = time.monotonic(), False

    def take_up(self) -> None:
        """Go back to where the run was stored, or store its start.

        Raises:
            CheckpointError: where the checkpoint is damaged, or of another run, or where there is
                none and it cannot be written: after hours of training it is late for that.
        """
        if self.folder is None:
            return
        found = checkpoint.read(self.folder)
        if found is None:
            self._write()
        else:
            self._check(found[1]["run"])
            self._restore(*found)

    def save_now_and_then(self) -> None:
        """Save if that was last done long enough ago."""
        if time.monotonic() - self._saved_at >= self.options.checkpoint_seconds:
            self.save()

    def save(self) -> None:
        """Write what is new; on a disk that is full the first time warns, and the old one stays."""
        if self.folder is None or self.steps == len(self.reached.losses):
            return
        self._saved_at = time.monotonic()
        try:
            self._write()
        except CheckpointError as error:
            if not self._has_warned:
                warnings.warn(
                    f"{error}; training goes on, while what is stored there is of step "
                    f"{self.steps}, and each later save is tried again",
                    stacklevel=2,
                )
            self._has_warned = True

    def _write(self) -> None:
        assert self.folder is not None
        reached = self.reached
        tensors = self.optimiser.tensors()
        tensors["losses"] = torch.tensor(reached.losses, dtype=torch.float64)
        tensors |= {f"best.{i}": x for i, x in enumerate(reached.best)}
        state = {
            "validation": reached.validation,
            "decay_from": self.schedule.decay_from,
            "compiled": reached.compiled,
        }
        with interrupt.whole():
            checkpoint.write(self.folder, tensors, {"run": self._about, "state": state})
            self.steps = len(reached.losses)

    def _check(self, run: dict[str, Any]) -> None:
        for name, value in self._about.items():
            if run.get(name) != value:
                how = checkpoint.difference(name, run.get(name), value)
                raise CheckpointError(
                    f"the checkpoint in {self.folder} is of another run: {how}; give another "
                    "folder, or delete it to start anew"
                )

    def _restore(self, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
        reached, state = self.reached, about["state"]
        self.optimiser.restore(tensors)
        self.schedule.decay_from = state["decay_from"]
        reached.losses = tensors["losses"].tolist()
        reached.validation = [(int(s), float(x)) for s, x in state["validation"]]
        shared = range(len(self.optimiser.parameters.shared))
        reached.best = [tensors[f"best.{i}"] for i in shared if f"best.{i}" in tensors]
        reached.compiled = state["compiled"]
        self.steps = len(reached.losses)

    @property
    def _about(self) -> dict[str, Any]:
        parameters = self.optimiser.parameters
        every: Sequence[Tensor] = (*parameters.shared, *parameters.rows)
        return {**self.options.about, "parameters": [list(x.shape) for x in every]}
