"""What a script of the lecture gives: a claim in words, figures, numbers, and the code behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType

from matplotlib.figure import Figure


@dataclass(frozen=True)
class Number:
    """One number: what it is, what was found with which Monte Carlo error, and the closed form."""

    what: str
    found: float
    error: float = 0.0
    oracle: float | None = None

    @property
    def cells(self) -> tuple[str, str, str]:
        """Found, its error and the closed form as they are printed."""
        error = f"{self.error:.4f}" if self.error else "exact"
        return f"{self.found:.4f}", error, "" if self.oracle is None else f"{self.oracle:.4f}"


@dataclass(frozen=True)
class Section:
    """One claim of the lecture.

    Attributes:
        title: the claim.
        text: paragraphs, apart by empty lines.
        numbers: in the order in which they are read.
        figures: by the stem of their file.
        code: what is shown of the code: modules and functions.
    """

    title: str
    text: str
    numbers: Sequence[Number] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    code: Sequence[ModuleType | Callable[..., object]] = ()
