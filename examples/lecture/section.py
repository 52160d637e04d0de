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
