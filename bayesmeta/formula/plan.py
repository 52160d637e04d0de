"""What the source of a formula is written of, and the names of its sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmeta.formula.design import INTERCEPT, Design, Effects
from bayesmeta.formula.errors import FormulaError
from bayesmeta.formula.families import OWN_SITES, Centre, Family
from bayesmeta.formula.grouping import Factor, Place
from bayesmeta.formula.outcome import Outcome

# Sites and plates of a model beside its columns.
RESERVED = {"tasks", "data", "centre", INTERCEPT, "cutpoints", *OWN_SITES, "shares"}


@dataclass(frozen=True, eq=False)
class Plan:
    """What the source is written of.

    Attributes:
        text: the formula.
        design: its columns.
        factors: its grouping factors, the task first.
        family: of the outcome.
        outcome: what is observed.
        y: the outcome, (rows,) or (rows, 2).
        categories: of an ordinal outcome, in their order.
        weights: the column of weights, if any.
    """

    text: str
    design: Design
    factors: tuple[Factor, ...]
    family: Family
    outcome: Outcome
    y: np.ndarray
    categories: tuple[Any, ...]
    weights: str | None

    @property
    def has_intercept(self) -> bool:
        """Whether the source has a site "Intercept"."""
        return self.design.has_intercept and self.family.has_level

    def of(self, place: Place) -> list[tuple[Factor, Effects]]:
        """What varies by the factors whose plates stand there."""
        known = {f.name: f for f in self.factors if f.place is place}
        return [(known[e.factor], e) for e in self.design.effects if e.factor in known]

    def is_own(self, term: str, factor: Factor) -> bool:
        """Whether a group's value is its own coefficient, around that of all groups."""
        known = self.has_intercept if term == INTERCEPT else term in self.design.predictors
        return factor.place is Place.TASK and known


def value_site(term: str, factor: Factor) -> str:
    """The site of what a group has: its own coefficient of a task, and else its shift."""
    name = f"{term}|{factor.name}"
    return name if factor.place is Place.TASK else f"shift({name})"


def sd_site(term: str, factor: Factor) -> str:
    """The site of the sd between groups."""
    return f"sd({term}|{factor.name})"


def cor_site(one: str, other: str, factor: Factor) -> str:
    """The site of a correlation between effects of a group."""
    return f"cor({one}, {other}|{factor.name})"


def factor_site(effects: Effects) -> str:
    """The site of the Cholesky factor of the correlations of a group's effects."""
    return f"factor({', '.join(effects.terms)}|{effects.factor})"


def check_sites(plan: Plan) -> None:
    """Refuse columns that have the name of a site that the model has beside them.

    Raises:
        FormulaError: naming the column.
    """
    sites = [*plan.design.predictors, plan.outcome.name]
    for name in sites:
        if name in RESERVED or sites.count(name) > 1:
            raise FormulaError(
                f"the column '{name}' of '{plan.text}' has a name that the model gives to another "
                "site; rename the column, frame.rename(columns={...})"
            )


def centre_of(plan: Plan) -> Centre:
    """Where the predictor lies on average, and its unit."""
    offset = np.zeros(len(plan.y))
    for label in plan.design.offsets:
        offset = offset + plan.design.columns[label]
    return plan.family.centre(plan.y, offset)


def spread_of(values: np.ndarray, has_level: bool) -> float:
    """The unit of a predictor: its sd, or without an intercept its root mean square."""
    spread = values.std(ddof=1) if has_level else np.sqrt((values**2).mean())
    return float(spread) if spread > 0 else 1.0


def spread_between(plan: Plan, term: str, factor: Factor) -> float:
    """The scale of an sd between groups, in units of the predictor eta.

    Of a slope it is 1 / sd(x). Of the level, which is that at x = 0, it is
    sqrt(1 + sum_x (mean(x) / sd(x))^2) over the slopes that vary by the same factor.
    """
    columns = plan.design.columns
    if term != INTERCEPT:
        return 1 / spread_of(columns[term], True)
    slopes = {x for e in plan.design.effects if e.factor == factor.name for x in e.terms}
    far = [columns[x].mean() / spread_of(columns[x], True) for x in sorted(slopes - {INTERCEPT})]
    return float(np.sqrt(1 + np.square(far).sum()))


def means_of(design: Design) -> dict[str, float]:
    """The means of predictors, but where they are 0 up to rounding."""
    means = {label: float(design.columns[label].mean()) for label in design.predictors}
    return {x: m for x, m in means.items() if abs(m) > 1e-9 * np.abs(design.columns[x]).max()}
