"""A formula's left side: a column, a function of columns, or p(successes, trials)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmeta.formula.design import FUNCTIONS, matrices_of, reads
from bayesmeta.formula.errors import FormulaError, check_columns, check_finite, numbers_of

if TYPE_CHECKING:
    import pandas as pd

_PROPORTION = re.compile(r"(?:p|prop|proportion) \( (`[^`]*`|[\w.]+) , (`[^`]*`|[\w.]+) \)")
_CALL = re.compile(r"([A-Za-z][\w.]*) \(")
TRIALS = "number of trials"


@dataclass(frozen=True)
class Outcome:
    """What is observed, by the formula's words.

    Attributes:
        name: of the site: the column, of p(successes, trials) that of successes.
        side: the formula's left side where it is computed.
        trials: the column of trials, or their number.
        formula: the whole formula, for errors.
    """

    name: str
    side: str | None
    trials: str | int | None
    formula: str

    @property
    def columns(self) -> list[str]:
        """The columns of the frame that it is made of."""
        more = [self.trials] if isinstance(self.trials, str) else []
        return [self.name, *more] if self.side is None else sorted(reads(self.side))

    def of(self, frame: pd.DataFrame) -> Any:
        """Its values in a frame: a column, numbers (rows,), or successes and trials (rows, 2).

        Raises:
            FormulaError: for a column that is not there, and a value that is missing or infinite.
        """
        check_columns(frame, self.columns, f"the formula '{self.formula}'")
        if self.trials is not None:
            successes = numbers_of(frame, self.name, f"the formula '{self.formula}'")
            return np.column_stack([successes, self.trials_of(frame)])
        if self.side is None:
            return frame[self.name]
        made = matrices_of(f"{self.side} ~ 1", frame, self.formula).response
        values = np.asarray(made.design_matrix)
        if values.ndim > 1:
            raise FormulaError(
                f"'{self.side}' in '{self.formula}' is no number a row; make a column of what is "
                "meant, and give that as the outcome"
            )
        check_finite(self.name, values.astype(float), frame)
        return values

    def trials_of(self, frame: pd.DataFrame) -> np.ndarray:
        """The trials of each row, (rows,).

        Raises:
            FormulaError: where their column is not there.
        """
        if isinstance(self.trials, int):
            return np.full(len(frame), float(self.trials))
        assert self.trials is not None
        return numbers_of(frame, self.trials, f"the formula '{self.formula}'")


def outcome(side: str, formula: str, frame: pd.DataFrame) -> Outcome:
    """What the left side of a formula says.

    Args:
        side: as `parse` gives it, with blanks between its parts.
        formula: the whole one.
        frame: in whose columns it is read.

    Raises:
        FormulaError: for a function that is not known.
    """
    name = side.strip("`")
    if name in frame.columns or name.isidentifier():
        return Outcome(name, None, None, formula)
    if found := _PROPORTION.fullmatch(side):
        successes, trials = (text.strip("`") for text in found.groups())
        return Outcome(successes, None, int(trials) if trials.isdigit() else trials, formula)
    for call in _CALL.findall(side):
        if call not in FUNCTIONS and not call.startswith("np."):
            raise FormulaError(
                f"the outcome of '{formula}' is computed by '{call}', but p(successes, trials) and "
                f"{', '.join(FUNCTIONS)} are known there; make a column of it"
            )
    return Outcome(re.sub(r" ?([(),]) ?", r"\1", side), side, None, formula)
