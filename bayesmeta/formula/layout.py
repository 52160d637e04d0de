"""The rows of a frame as tasks, in the columns that a formula's model reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmeta.data.tasks import Tasks
from bayesmeta.formula.errors import FormulaError, numbers_of
from bayesmeta.formula.grouping import keys
from bayesmeta.formula.outcome import TRIALS
from bayesmeta.formula.plan import Plan

if TYPE_CHECKING:
    import pandas as pd

# Beside predictors, whose names could be no such.
_TASK, _OUTCOME = "task of the row", "outcome of the row"


def columns_of(
    plan: Plan, frame: pd.DataFrame, columns: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What the tasks hold of each row, and the name of its task, (rows,)."""
    task, *others = plan.factors
    where = f"the formula '{plan.text}'"
    names = keys(frame, task.columns, where)
    for factor in others:
        _add(columns, factor.column, factor.of(keys(frame, factor.columns, where), names))
    if plan.weights is not None and plan.weights in frame.columns:
        _add(columns, plan.weights, frame[plan.weights].to_numpy(dtype=float))
    if plan.family.takes_trials:
        _add(columns, TRIALS, plan.outcome.trials_of(frame))
    return columns, names


def _add(columns: dict[str, np.ndarray], name: str, values: np.ndarray) -> None:
    """Put a column beside the predictors, but not over another one."""
    if name in columns and not np.array_equal(columns[name], values):
        raise FormulaError(
            f"the predictor '{name}' has the name of another column that the model reads; rename "
            "it, frame.rename(columns={...})"
        )
    columns[name] = values


def tasks_of(
    plan: Plan,
    frame: pd.DataFrame,
    columns: dict[str, np.ndarray],
    task_of: np.ndarray,
    *,
    has_outcome: bool,
) -> Tasks:
    """The columns as tasks, in the order and by the index of the frame."""
    import pandas as pd

    given: dict[str, np.ndarray] = {**columns, _TASK: task_of}
    if has_outcome:
        values = plan.outcome.of(frame)
        y = plan.family.read(plan.outcome.name, values, frame.index, plan.categories)
        given[_OUTCOME] = y[:, 0] if plan.family.takes_trials else y
    made = pd.DataFrame(given, index=frame.index)
    y_name = _OUTCOME if has_outcome else None
    return Tasks.from_frame(made, task=_TASK, y=y_name, x=list(columns))


def check_weights(weights: str, frame: pd.DataFrame) -> None:
    """Refuse a column of weights that are negative, or all 0.

    Raises:
        TypeError: for what is no name.
        FormulaError: for a column that is not there, or of other values.
    """
    if not isinstance(weights, str):
        raise TypeError(
            f"formula got a {type(weights).__name__} as weights; give the name of a column"
        )
    values = numbers_of(frame, weights, "weights=")
    if (values < 0).any() or not values.any():
        raise FormulaError(
            f"the weights '{weights}' are {values.min():g} at least, but numbers of at least 0, of "
            "which some are more, are expected; correct them, or leave out rows that do not count"
        )
