"""FitOptions: what a call of fit was given that is neither model, data nor hyperparameter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import Any

from bayesmeta.data.tasks import Tasks


@dataclass(frozen=True)
class FitOptions:
    """How a theta strategy is to go about one fit.

    Attributes:
        seed: the source of all randomness.
        progress: whether to show a progress bar.
        validation: tasks that are not trained on, by which the best parameters are chosen.
        checkpoint: a folder from which training goes on, and in which it leaves its state.
        checkpoint_seconds: how long a state that was left there is fresh enough.
        about: what tells this fit from others, by which a checkpoint is recognised.
        repeats: how many fits of this density there will be, over all of which compiling pays.
    """

    seed: int
    progress: bool
    validation: Tasks | None = None
    checkpoint: Path | None = None
    checkpoint_seconds: float = 30.0
    about: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.checkpoint_seconds, Real) or not self.checkpoint_seconds >= 0:
            raise ValueError(
                f"fit got checkpoint_seconds={self.checkpoint_seconds!r}; give the seconds between "
                "two saves, such as 30.0, or 0 for a save after each step"
            )
