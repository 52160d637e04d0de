"""Simulations that have ended, in a file from which others go on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bayesmeta.training import checkpoint, interrupt
from bayesmeta.training.checkpoint import CheckpointError
from bayesmeta.trust.replicate import Compared, Outcome

_FILE = "sbc.safetensors"
_SECONDS = 10.0


@dataclass
class Unfinished:
    """What is stored of simulations, by number.

    Attributes:
        folder: where; None keeps them in memory.
        about: what tells these simulations from others.
        outcomes: of those that have ended.
    """

    folder: Path | None
    about: Mapping[str, Any]
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    _saved_at: float = field(default_factory=time.monotonic)

    def take_up(self) -> None:
        """Read what is there, or write that nothing is.

        Raises:
            CheckpointError: where the file is damaged, or of other simulations, or cannot be
                written, before the first of them.
        """
        if self.folder is None:
            return
        found = checkpoint.read(self.folder, _FILE)
        if found is None:
            self.save()
            return
        tensors, stored = found
        for name, value in self.about.items():
            if stored["run"].get(name) != value:
                how = checkpoint.difference(name, stored["run"].get(name), value)
                raise CheckpointError(
                    f"the simulations in {self.folder} are of another call of sbc: {how}; give "
                    "another folder, or delete it to start anew"
                )
        self.outcomes = _outcomes(tensors, stored)

    def add(self, k: int, outcome: Outcome) -> None:
        """Keep it, and write all of them now and then."""
        self.outcomes[k] = outcome
        if time.monotonic() - self._saved_at >= _SECONDS:
            self.save()

    def save(self) -> None:
        """Write all that have ended."""
        if self.folder is None:
            return
        self._saved_at = time.monotonic()
        tensors, said = _stored(self.outcomes)
        with interrupt.whole():
            checkpoint.write(self.folder, tensors, {"run": dict(self.about), **said}, _FILE)


def _stored(outcomes: Mapping[int, Outcome]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    ended = list(outcomes.values())
    names = list(dict.fromkeys(n for o in ended for n in o.found))
    tensors = {
        "number": torch.tensor(list(outcomes), dtype=torch.int64),
        "draws": torch.tensor([o.draws for o in ended], dtype=torch.int64),
        "is_ok": torch.tensor([o.is_ok for o in ended], dtype=torch.bool),
        **{part: _table(ended, names, part) for part in Compared._fields},
    }
    said = {
        "names": names,
        "known": [[n in o.found for n in names] for o in ended],
        "failures": [o.failure for o in ended],
        "warnings": [o.warning for o in ended],
    }
    return tensors, said


def _table(outcomes: Sequence[Outcome], names: Sequence[str], part: str) -> Tensor:
    """One field of all quantities, (simulations, quantities), NaN where one is not there."""
    nothing = Compared(*4 * (float("nan"),))
    values = [[getattr(o.found.get(n, nothing), part) for n in names] for o in outcomes]
    return torch.tensor(values, dtype=torch.float64).reshape(len(outcomes), len(names))


def _outcomes(tensors: Mapping[str, Tensor], said: Mapping[str, Any]) -> dict[int, Outcome]:
    def row(i: int) -> dict[str, Compared]:
        parts = (tensors[part][i].tolist() for part in Compared._fields)
        every = zip(said["names"], zip(*parts, strict=True), said["known"][i], strict=True)
        return {name: Compared(*values) for name, values, is_there in every if is_there}

    return {
        int(number): Outcome(
            row(i),
            int(tensors["draws"][i]),
            bool(tensors["is_ok"][i]),
            said["failures"][i],
            said["warnings"][i],
        )
        for i, number in enumerate(tensors["number"])
    }
