"""formula: a line as of lme4 as tasks and a plain Pyro model, whose source is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.predict import Prediction
from bayesmeta.formula import prediction, tables
from bayesmeta.formula.design import design
from bayesmeta.formula.errors import FormulaError, check_columns, check_frame, named
from bayesmeta.formula.families import Family, Gaussian, check_family
from bayesmeta.formula.grouping import Place, factors, keys
from bayesmeta.formula.layout import check_weights, columns_of, tasks_of
from bayesmeta.formula.outcome import outcome
from bayesmeta.formula.parsing import parse
from bayesmeta.formula.plan import Plan
from bayesmeta.formula.source import run_of, write
from bayesmeta.running.handlers import Model

if TYPE_CHECKING:
    import pandas as pd

    from bayesmeta.posterior.posterior import Posterior


@dataclass(frozen=True, eq=False, repr=False)
class Formula:
    """A formula on a frame: tasks and model for `bm.fit`, and its words for what is found.

    Attributes:
        tasks: the frame; a task is a group of one factor.
        model: a plain Pyro function of the tasks, which the source defines.
        source: its text, complete with imports: paste and edit it.
        plan: what the source was written of.
    """

    tasks: Tasks
    model: Model
    source: str
    plan: Plan

    def __repr__(self) -> str:
        places = [f"{f.name} ({f.place.value}, {len(f.groups)})" for f in self.plan.factors]
        family = type(self.plan.family).__name__
        return f"Formula('{self.plan.text}', {family}; groups: {', '.join(places)})"

    def __str__(self) -> str:
        return self.source

    def coefficients(self, post: Posterior) -> pd.DataFrame:
        """What all groups share, lme4's `fixef`: mean, sd, and the quantiles 3% and 97%.

        They are those of the formula's columns as they are, however the source centres them.

        Raises:
            FormulaError: where the posterior is of another model.
        """
        return tables.coefficients(self.plan, post)

    def group_effects(self, post: Posterior) -> pd.DataFrame:
        """What each group adds to them, lme4's `ranef`, by (factor, group, term).

        A task's coefficients with that of all, lme4's `coef`, are `post.phi["x|county"]`.

        Raises:
            FormulaError: where the posterior is of another model.
        """
        return tables.group_effects(self.plan, post)

    def variation(self, post: Posterior) -> pd.DataFrame:
        """Sds between groups, their correlations, and sigma, lme4's `VarCorr`.

        Raises:
            FormulaError: where the posterior is of another model.
        """
        return tables.variation(self.plan, post)

    def data(self, frame: pd.DataFrame) -> Tasks:
        """Tasks of another frame in this formula's columns, as for `post.adapt`.

        With outcomes where the frame has them, and without for prediction. Transformations such as
        scale(x) are those of the first frame.

        Raises:
            FormulaError: for what the formula does not know: a level of a factor, a group of one
                that crosses tasks, and more groups in a task than the model has places.
            TypeError: for what is no frame.
        """
        check_frame(frame)
        columns, task = self._columns(frame)
        for factor in self.plan.factors[1:]:
            own = keys(frame, factor.columns, "the formula")
            lacking = factor.lacks(own, task)
            if lacking.any():
                raise FormulaError(
                    f"'{factor.name}' has the groups {named(dict.fromkeys(own[lacking]))}, for "
                    f"which the model has no place; f.predict draws new ones; to learn of them, "
                    "make the formula of a frame that holds them"
                )
        has_outcome = set(self.plan.outcome.columns) <= set(frame.columns)
        if has_outcome and self.plan.weights is not None:
            check_columns(frame, [self.plan.weights], "weights=")
        return tasks_of(self.plan, frame, columns, task, has_outcome=has_outcome)

    def predict(
        self, post: Posterior, frame: pd.DataFrame, *, repeats: int = 1, seed: int = 0
    ) -> Prediction:
        """Outcomes of new rows: of groups that are known, and of others by the population.

        `f.predict(post, frame).to_frame()` has a row for each of the frame's, by its index. A new
        group has another effect at each draw of theta, so that its spread counts.

        Args:
            post: of a fit of this formula's model, or what it adapted to.
            frame: the columns that the formula reads, beside the outcome; of a binomial one also
                the trials.
            repeats: outcomes, and new groups, for each draw of theta; more than 1 is for point
                estimates, of which a new group is one draw.
            seed: of new groups' effects and of outcomes.

        Raises:
            FormulaError: for a column or level that is not there, and a posterior of another model.
            TypeError: for what is no frame.
        """
        check_frame(frame)
        check_whole("predict", "repeats", repeats)
        check_seed("predict", seed)
        columns, task = self._columns(frame)
        self._check_inside(post, task)
        tasks = tasks_of(self.plan, frame, columns, task, has_outcome=False)
        return prediction.predict(self.plan, post, tasks, repeats, seed)

    def _check_inside(self, post: Posterior, task: np.ndarray) -> None:
        """Refuse tasks that were adapted to where groups inside them are not known by name."""
        if any(factor.place is Place.NESTED for factor in self.plan.factors):
            new = set(task) & set(post.tasks.names) - set(self.plan.factors[0].groups)
            if new:
                raise FormulaError(
                    f"the posterior adapted to {named(sorted(new))}, but which group inside of "
                    "them is which the formula does not know; make the formula of a frame that "
                    "holds them, or read post.phi"
                )

    def _columns(self, frame: pd.DataFrame) -> tuple[dict[str, np.ndarray], np.ndarray]:
        return columns_of(self.plan, frame, self.plan.design.of(frame))


def formula(
    text: str,
    frame: pd.DataFrame,
    *,
    family: Family | None = None,
    weights: str | None = None,
    task: str | None = None,
) -> Formula:
    """A model by a formula, as lme4, glmmTMB and Bambi read it: y ~ x + (1 + x | county).

        eta = intercept + x beta + offset + z u_g,   u_g ~ N(0, Sigma),   y ~ family(eta)

    The groups of one factor are the tasks. A second factor that crosses it is a plate outside, one
    whose groups lie inside (county:floor) a plate inside. The source of the model is the result's
    `source`, with priors as numbers in the data's units:

        intercept, where predictors are at their means   Normal(mean(y), 2.5 sd(y))
        coefficients                                      Normal(0, 2.5 sd(y) / sd(x))
        sds between groups                                HalfNormal(sd(y) / sd(x))
        correlations                                      LKJ(2)
        sigma                                             HalfNormal(sd(y))

    where on a log or logit scale 1 stands for sd(y), and the sd of levels, which are those at
    x = 0, is wider by sqrt(1 + (mean(x) / sd(x))^2) where slopes of x vary by the same groups.
    Coefficients have the scales of rstanarm's default priors (Goodrich et al. 2020).

    Args:
        text: the formula; offset(log(exposure)) adds a column as it is, (x || g) has uncorrelated
            effects, p(successes, trials) is a binomial outcome.
        frame: one row a datapoint.
        family: one of `bm.families`; None is Gaussian().
        weights: a column that says how much each row counts in the fit.
        task: which of two factors that cross each other is the task; None takes the one of more
            groups, as phi is treated task by task.

    Raises:
        FormulaError: where formula and frame make no model, before any inference.
        TypeError: where something is of another kind.
        ImportError: where formulae is not installed.
    """
    check_frame(frame)
    family = Gaussian() if family is None else family
    check_family(family)
    parts = parse(text)
    if weights is not None:
        check_weights(weights, frame)
    observed = outcome(parts.outcome, text, frame)
    values = observed.of(frame)
    categories = family.categories(observed.name, values)
    y = family.read(observed.name, values, frame.index, categories)
    family.check_varies(observed.name, y, categories)
    found = design(parts, frame)
    groups = factors(found.effects, frame, task, f"the formula '{text}'")
    plan = Plan(text, found, groups, family, observed, y, categories, weights)
    columns, task_of = columns_of(plan, frame, dict(found.columns))
    written = write(plan)
    run = run_of(written, f"<bm.formula {text}>")
    tasks = tasks_of(plan, frame, columns, task_of, has_outcome=True)
    return Formula(tasks, cast(Model, run["model"]), written, plan)
