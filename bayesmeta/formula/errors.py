"""The error of a formula that is no model of its frame, and the words of what several files say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

_MOST_NAMED = 5


class FormulaError(ValueError):
    """The formula and the frame make no model; the message says where and what to do."""


def named(things: Iterable[Any]) -> str:
    """The first few of these, and how many more there are."""
    every = [repr(t.item() if isinstance(t, np.generic) else t) for t in things]
    more = f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else ""
    return ", ".join(every[:_MOST_NAMED]) + more


def check_columns(frame: pd.DataFrame, names: Sequence[str], where: str) -> None:
    """Refuse names that are no column of the frame, and cells that are missing or infinite.

    Args:
        frame: one row a datapoint.
        names: what the formula reads.
        where: what reads them, as "the formula 'y ~ x'".

    Raises:
        FormulaError: naming columns, or rows by their labels.
    """
    for name in names:
        if name not in frame.columns:
            raise FormulaError(
                f"{where} reads '{name}', but the frame has the columns {named(frame.columns)}; "
                "correct the name, or make such a column"
            )
        if frame[name].ndim > 1:
            raise FormulaError(f"the frame has several columns '{name}'; rename them")
        missing = frame[name].isna().to_numpy(dtype=bool)
        if missing.any():
            raise FormulaError(
                f"column '{name}' is missing in {int(missing.sum())} rows, at index "
                f"{named(frame.index[missing])}; drop them, frame.dropna(subset=['{name}']), or "
                "write a model that infers what is missing (docs/latents.md)"
            )
        if frame[name].dtype.kind == "f":
            check_finite(name, frame[name].to_numpy(dtype=float), frame)


def numbers_of(frame: pd.DataFrame, name: str, where: str) -> np.ndarray:
    """A column of numbers, (rows,).

    Raises:
        FormulaError: for a column that is not there, missing somewhere, infinite or of no numbers.
    """
    check_columns(frame, [name], where)
    if frame[name].dtype.kind not in "biuf":
        raise FormulaError(
            f"{where} takes numbers from column '{name}', which holds "
            f"{named(frame[name].unique())}; make numbers of it, as by pd.to_numeric(frame[name])"
        )
    return frame[name].to_numpy(dtype=float)


def check_kinds(frame: pd.DataFrame, names: Sequence[str], where: str) -> None:
    """Refuse columns that are neither of numbers nor of text or categories, as of dates.

    Raises:
        FormulaError: naming column and kind.
    """
    for name in names:
        column = frame[name]
        is_object = column.dtype == object and not column.map(lambda x: isinstance(x, str)).all()
        if column.dtype.kind in "mMc" or is_object:
            raise FormulaError(
                f"{where} reads '{name}', which is of {column.dtype}; give numbers, as by "
                "pd.to_numeric(frame[name]), of dates those since the first, or text for a factor"
            )


def check_finite(name: str, values: np.ndarray, frame: pd.DataFrame) -> None:
    """Refuse numbers of the frame's rows, of shape (rows,), that are NaN or inf.

    Raises:
        FormulaError: naming the rows by their labels.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        raise FormulaError(
            f"'{name}' is {values[bad][0]} in {int(bad.sum())} rows, at index "
            f"{named(frame.index[bad])}, where finite numbers are expected; drop these rows, or "
            "correct them"
        )


def check_frame(frame: object) -> None:
    """Refuse what is no data frame with rows.

    Raises:
        TypeError: of another kind.
        FormulaError: without rows.
    """
    if not hasattr(frame, "groupby") or not hasattr(frame, "columns"):
        raise TypeError(
            f"formula got a {type(frame).__name__} as frame; give a pandas DataFrame with one row "
            "a datapoint"
        )
    if not len(frame):  # type: ignore[arg-type]
        raise FormulaError("the frame has no rows; give one row a datapoint")
