"""A formula's columns: what of a frame the model reads, by the names that formulae gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmeta.formula.errors import (
    FormulaError,
    check_columns,
    check_finite,
    check_kinds,
    named,
)
from bayesmeta.formula.parsing import Bar, Parts, installed

if TYPE_CHECKING:
    import pandas as pd

# Beside the functions of formulae: scale, center, poly, bs, C, offset, p and others.
FUNCTIONS = {"np": np, "log": np.log, "log1p": np.log1p, "log2": np.log2, "log10": np.log10}
FUNCTIONS |= {"exp": np.exp, "sqrt": np.sqrt, "abs": np.abs, "sin": np.sin, "cos": np.cos}
INTERCEPT = "Intercept"
# Of categories, as in C(x, Sum), which formulae counts among columns.
_CODINGS = ("Sum", "Treatment")


@dataclass(frozen=True)
class Effects:
    """What varies by one factor in one pair of brackets.

    Attributes:
        terms: their names; "Intercept" for the level.
        factor: the name of the factor, as "county:floor".
        columns: the columns of the frame that the factor is made of.
        correlated: whether they may be correlated.
    """

    terms: tuple[str, ...]
    factor: str
    columns: tuple[str, ...]
    correlated: bool


@dataclass(frozen=True, eq=False)
class Design:
    """The right side of a formula on a frame, and on new frames.

    Attributes:
        predictors: names of the coefficients that all groups share, without the intercept.
        has_intercept: whether there is one.
        offsets: names of columns that are added as they are.
        effects: what varies by group.
        columns: by name what the model reads of each row, each of shape (rows,).
        matrices: as formulae made them, one for what is common and one for each bracket.
        levels: of each column that is no number, the values that were there.
    """

    predictors: tuple[str, ...]
    has_intercept: bool
    offsets: tuple[str, ...]
    effects: tuple[Effects, ...]
    columns: Mapping[str, np.ndarray]
    matrices: tuple[Any, ...]
    levels: Mapping[str, tuple[Any, ...]]

    def of(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """The columns of a new frame; transformations as `scale(x)` are those of the first one.

        Raises:
            FormulaError: for a column that is missing, a value that is, and a level that the model
                has no coefficient of.
        """
        read = {name for matrix in self.matrices for name in _read_by(matrix.terms.values(), frame)}
        check_columns(frame, sorted(read), "the formula")
        for name, levels in self.levels.items():
            new = set(frame[name].unique()) - set(levels)
            if new:
                raise FormulaError(
                    f"column '{name}' has the levels {named(sorted(new, key=str))}, of which the "
                    f"model has no coefficient; it was fitted to {named(levels)}; drop these rows, "
                    "or make the column a grouping factor, of which new levels may come"
                )
        try:
            with np.errstate(all="ignore"):
                made = [matrix.evaluate_new_data(frame) for matrix in self.matrices]
        except Exception as error:
            raise FormulaError(f"the formula cannot be read on the new frame: {error}") from error
        return _columns(zip(self.matrices, made, strict=True), frame)


def design(parts: Parts, frame: pd.DataFrame) -> Design:
    """The columns of a formula's right side.

    Raises:
        FormulaError: for a name that is no column, a value that is missing or infinite, a factor of
            one level, a predictor of one value, and what formulae cannot read.
    """
    sides = [parts.common, *dict.fromkeys(bar.effects for bar in parts.bars)]
    made = {side: _matrix(side, frame, parts.text) for side in sides}
    matrices = tuple(matrix for matrix in made.values() if matrix is not None)
    columns = _columns(((matrix, matrix) for matrix in matrices), frame)
    common = made[parts.common]
    terms = () if common is None else tuple(common.terms.values())
    names = tuple(label for term in terms if term.kind != "offset" for label in _labels(term))
    offsets = tuple(label for term in terms if term.kind == "offset" for label in _labels(term))
    read = {name for matrix in matrices for name in _read_by(matrix.terms.values(), frame)}
    levels = {
        name: tuple(sorted(frame[name].unique(), key=str))
        for name in sorted(read)
        if frame[name].dtype.kind not in "iuf"
    }
    found = Design(
        tuple(name for name in names if name != INTERCEPT),
        INTERCEPT in names,
        offsets,
        tuple(_apart([_effects(bar, made[bar.effects], parts.text) for bar in parts.bars])),
        columns,
        matrices,
        levels,
    )
    _check_varies(found, levels)
    return found


def _matrix(side: str, frame: pd.DataFrame, text: str) -> Any:
    """The matrix of one side; None where it has no columns, as "0"."""
    return matrices_of(side, frame, text).common


def reads(side: str) -> set[str]:
    """The columns that a side of a formula is made of.

    Raises:
        FormulaError: where formulae cannot read it.
    """
    try:
        return set(installed().model_description(side).var_names) - {""}
    except Exception as error:
        raise FormulaError(
            f"'{side}' of the formula cannot be read: {error}; write each column out, as 'x + z'"
        ) from error


def matrices_of(side: str, frame: pd.DataFrame, text: str) -> Any:
    """What formulae makes of a side of the formula `text` on a frame.

    Raises:
        FormulaError: as `design`.
    """
    names, where = sorted(_in(frame, reads(side))), f"the formula '{text}'"
    check_columns(frame, names, where)
    check_kinds(frame, names, where)
    if INTERCEPT in names:
        raise FormulaError(
            f"a column of {where} is named '{INTERCEPT}', as the level is; rename it, "
            f"frame.rename(columns={{'{INTERCEPT}': ...}})"
        )
    try:
        with np.errstate(all="ignore"):  # what becomes infinite is refused by its rows
            return installed().design_matrices(
                side, frame, na_action="error", extra_namespace=dict(FUNCTIONS)
            )
    except Exception as error:
        raise FormulaError(
            f"'{side}' in '{text}' cannot be computed: {error}; functions are those of formulae, "
            f"as scale(x) and poly(x, 2), and {', '.join(FUNCTIONS)}; make a column of others"
        ) from error


def _labels(term: Any) -> list[str]:
    """The names of a term's columns; NetCDF files, to which ArviZ writes, take no slash in one."""
    return [label.replace("/", "per") for label in term.labels]


def _read_by(terms: Any, frame: pd.DataFrame) -> set[str]:
    return _in(frame, {name for term in terms for name in term.var_names if name})


def _in(frame: pd.DataFrame, names: set[str]) -> set[str]:
    """Names of columns, whether they are there or not, without those of codings."""
    return {name for name in names if name in frame.columns or name not in _CODINGS}


def _columns(pairs: Any, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Each column of some matrices under its name, (rows,); the first of a pair has the names."""
    found: dict[str, np.ndarray] = {}
    for named_by, matrix in pairs:
        for name, term in named_by.terms.items():
            block = np.asarray(matrix.design_matrix[:, named_by.slices[name]], dtype=float)
            for label, column in zip(_labels(term), block.T, strict=True):
                if label == INTERCEPT:
                    continue
                check_finite(label, column, frame)
                if not np.array_equal(found.setdefault(label, column), column):
                    raise FormulaError(
                        f"'{label}' stands for two different columns of the formula; make columns "
                        "of them in the frame, with names of their own"
                    )
    return found


def _effects(bar: Bar, matrix: Any, text: str) -> Effects:
    """What varies in one pair of brackets."""
    terms = () if matrix is None else tuple(matrix.terms.values())
    labels = tuple(label for term in terms for label in _labels(term))
    if not labels or any(term.kind == "offset" for term in terms):
        raise FormulaError(
            f"'{bar.effects}' before a bar of '{text}' says not what varies by group; give 1 for "
            "the level, x for a slope, and offsets outside of the brackets"
        )
    return Effects(labels, ":".join(bar.factor), bar.factor, bar.correlated)


def _apart(effects: Sequence[Effects]) -> list[Effects]:
    """Uncorrelated effects one by one, and each named once for a factor."""
    found = []
    for one in effects:
        alone = not one.correlated or len(one.terms) == 1
        groups = [(term,) for term in one.terms] if alone else [one.terms]
        found += [Effects(terms, one.factor, one.columns, not alone) for terms in groups]
    seen: set[tuple[str, str]] = set()
    for one in found:
        for term in one.terms:
            if (term, one.factor) in seen:
                raise FormulaError(
                    f"'{term}' varies by '{one.factor}' twice; name it once, as lme4 reads (x | g) "
                    "as (1 + x | g): without the level it is (0 + x | g)"
                )
            seen.add((term, one.factor))
    return found


def _check_varies(found: Design, levels: Mapping[str, Sequence[Any]]) -> None:
    for name, values in levels.items():
        if len(values) < 2:
            raise FormulaError(
                f"the factor '{name}' has one level, {named(values)}, so that nothing is told "
                "from it; leave it out of the formula"
            )
    for name in found.predictors:
        column = found.columns[name]
        if found.has_intercept and np.ptp(column) == 0:
            raise FormulaError(
                f"'{name}' is {column[0]:g} in every row, which is the intercept again; leave it "
                "out of the formula"
            )
