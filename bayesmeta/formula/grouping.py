"""Which grouping factor is the task, and where the other one stands: across tasks, or inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from bayesmeta.formula.design import Effects
from bayesmeta.formula.errors import FormulaError, check_columns, named

if TYPE_CHECKING:
    import pandas as pd

_BY_HAND = (
    "leave one out, and add it by hand to the source, print(f.source): docs/latents.md, 'Groups "
    "that cross tasks' and 'Levels inside tasks'"
)


class Place(Enum):
    """Where the plate of a factor stands."""

    TASK = "tasks"
    CROSSED = "outside"
    NESTED = "inside"


@dataclass(frozen=True, eq=False)
class Factor:
    """A grouping factor.

    Attributes:
        name: as "county:floor".
        columns: the columns of the frame that it is made of.
        place: where its plate stands.
        groups: names of its groups, in the order in which they number the plate. Inside tasks each
            is a pair (task, group), and there may be fewer than the plate has places.
        numbers: the place of each of them in its plate.
        size: of the plate.
    """

    name: str
    columns: tuple[str, ...]
    place: Place
    groups: tuple[str | tuple[str, str], ...]
    numbers: tuple[int, ...]
    size: int

    @property
    def column(self) -> str:
        """The column of the tasks that numbers the group of each row."""
        return f"number of {self.name}"

    @property
    def plate(self) -> str:
        """The name of its plate beside "tasks"."""
        return f"groups of {self.name}"

    def of(self, own: np.ndarray, task: np.ndarray) -> np.ndarray:
        """The number of each row's group, (rows,).

        New groups are numbered on after the places of the plate, and those inside new tasks from 0.

        Args:
            own: names of the rows' groups, as `keys` gives them.
            task: names of the rows' tasks.
        """
        inside = self.place is Place.NESTED
        names: list[object] = list(zip(task, own, strict=True)) if inside else list(own)
        known: dict[object, int] = dict(zip(self.groups, self.numbers, strict=True))
        plates = list(task) if inside else [None] * len(own)
        fitted = {pair[0] for pair in self.groups} if inside else {None}
        count = {plate: self.size if plate in fitted else 0 for plate in plates}
        for name, plate in zip(names, plates, strict=True):
            if name not in known:
                known[name], count[plate] = count[plate], count[plate] + 1
        return np.array([known[name] for name in names])

    def lacks(self, own: np.ndarray, task: np.ndarray) -> np.ndarray:
        """Which rows are of a group that the model has no place for, (rows,).

        Of tasks that are known it has those of their groups, and of new ones as many as of any.
        """
        return self.of(own, task) >= self.size


def keys(frame: pd.DataFrame, columns: Sequence[str], where: str) -> np.ndarray:
    """The name of each row's group, (rows,); of several columns with ":" between.

    Raises:
        FormulaError: for a column that is not there, or missing in a row.
    """
    check_columns(frame, columns, where)
    parts = [frame[name].astype(str).to_numpy(dtype=object) for name in columns]
    return np.array([":".join(row) for row in zip(*parts, strict=True)], dtype=object)


def factors(
    effects: Sequence[Effects], frame: pd.DataFrame, task: str | None, where: str
) -> tuple[Factor, ...]:
    """The factors of a formula, the task first.

    Args:
        effects: what varies by group.
        frame: one row a datapoint.
        task: the name of the factor that is the task, or None: the only one, the outer one of two,
            and of two that cross each other the one of more groups.
        where: the formula in words, for errors.

    Raises:
        FormulaError: for more than two factors, one group, a group of its own for each factor, and
            a task that is no such factor.
    """
    columns = {one.factor: one.columns for one in effects}
    groups = {name: keys(frame, parts, where) for name, parts in columns.items()}
    if len(groups) > 2:
        raise FormulaError(
            f"{where} has {len(groups)} grouping factors, {named(groups)}; it may have two, of "
            f"which one is the task; {_BY_HAND}"
        )
    for name, own in groups.items():
        if len(set(own)) < 2:
            raise FormulaError(
                f"the grouping factor '{name}' has one group, {own[0]!r}, from which no spread "
                "between groups is learned; give a column of several"
            )
    if task is not None and task not in groups:
        raise FormulaError(
            f"formula got task={task!r}, but the grouping factors are {named(groups)}; name one"
        )
    outer = _task(groups, task)
    names = tuple(dict.fromkeys(groups[outer]))
    found = Factor(outer, columns[outer], Place.TASK, names, tuple(range(len(names))), len(names))
    others = [_other(n, columns[n], groups[n], groups[outer]) for n in groups if n != outer]
    return (found, *others)


def _task(groups: dict[str, np.ndarray], task: str | None) -> str:
    """Which factor is the task."""
    if len(groups) == 1:
        return next(iter(groups))
    one, other = groups
    inside = {one: _nested(groups[one], groups[other]), other: _nested(groups[other], groups[one])}
    if all(inside.values()):
        raise FormulaError(
            f"'{one}' and '{other}' are the same groups, so that their effects cannot be told "
            "apart; keep one of them"
        )
    if any(inside.values()):
        outer = other if inside[one] else one
        if task not in (None, outer):
            raise FormulaError(
                f"formula got task={task!r}, whose groups lie inside those of '{outer}'; give "
                f"task={outer!r}, or leave it out"
            )
        return outer
    return task or max(groups, key=lambda name: len(set(groups[name])))


def _nested(inner: np.ndarray, outer: np.ndarray) -> bool:
    """Whether each group of one lies in one group of the other."""
    return len(set(zip(inner, outer, strict=True))) == len(set(inner))


def _other(name: str, columns: tuple[str, ...], own: np.ndarray, task: np.ndarray) -> Factor:
    if not _nested(own, task):
        names = tuple(dict.fromkeys(own))
        numbers = tuple(range(len(names)))
        return Factor(name, columns, Place.CROSSED, names, numbers, len(names))
    pairs = tuple(dict.fromkeys(zip(task, own, strict=True)))
    count = Counter[str]()
    inside = []
    for outer, _ in pairs:
        inside.append(count[outer])
        count[outer] += 1
    return Factor(name, columns, Place.NESTED, pairs, tuple(inside), max(count.values()))
