"""Families of outcomes for `bm.formula`: what they take, their link, and their lines of the source.

The predictor eta_ij is what the formula says of row j of task i, and

    Gaussian           y ~ Normal(eta, sigma)
    StudentT           y ~ StudentT(nu, eta, sigma)
    Bernoulli          y ~ Bernoulli(1 / (1 + exp(-eta)))
    Binomial           y ~ Binomial(trials, 1 / (1 + exp(-eta)))
    Poisson            y ~ Poisson(exp(eta))
    NegativeBinomial   y of mean m = exp(eta) and variance m + dispersion m^2
    Ordinal            p(y <= k) = 1 / (1 + exp(eta - cutpoint_k)), the cumulative logit
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from bayesmeta.formula.errors import FormulaError, named

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Bernoulli",
    "Binomial",
    "Family",
    "Gaussian",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "StudentT",
]

# Parameters of families, each of one number.
OWN_SITES = ("sigma", "nu", "dispersion")


@dataclass(frozen=True)
class Centre:
    """Where the predictor lies on average, and the unit of what moves it.

    Attributes:
        at: the predictor where all predictors are at their means.
        unit: sd(y) where the predictor is of the outcome itself, and 1 on a log or logit scale.
        why: both in words, for the source.
        word: the unit in words.
    """

    at: float
    unit: float
    why: str
    word: str = "1"


@dataclass(frozen=True)
class Family(ABC):
    """The distribution of an outcome given the predictor eta."""

    has_level: ClassVar[bool] = True
    takes_trials: ClassVar[bool] = False

    def categories(self, name: str, values: Any) -> tuple[Any, ...]:
        """The categories of an ordinal outcome in their order, of the frame that is fitted."""
        return ()

    def check_varies(self, name: str, y: np.ndarray, categories: tuple[Any, ...]) -> None:
        """Refuse a frame that is fitted where it has one outcome in every row.

        Raises:
            FormulaError: naming it.
        """
        if np.ptp(y) == 0:
            raise FormulaError(
                f"the outcome '{name}' is {y.flat[0]:g} in every row, which leaves nothing to "
                "explain; give an outcome that varies"
            )

    @abstractmethod
    def read(
        self, name: str, values: Any, index: pd.Index, categories: tuple[Any, ...]
    ) -> np.ndarray:
        """The outcome as numbers, (rows,), or (rows, 2) of successes and trials.

        Args:
            name: of the outcome, for errors.
            values: a column of the frame, or numbers that the formula computed.
            index: the labels of the rows.
            categories: those of an ordinal outcome.

        Raises:
            FormulaError: for values that are no such outcome.
        """

    @abstractmethod
    def centre(self, y: np.ndarray, offset: np.ndarray) -> Centre:
        """What priors are scaled by, of the outcome and the offset of each row."""

    def own(self, y: np.ndarray, unit: float) -> tuple[str, ...]:
        """Statements of the source on parameters that only this family has."""
        return ()

    @property
    @abstractmethod
    def outcome(self) -> str:
        """The distribution of the outcome in the source, which reads eta."""


def _numbers(name: str, values: Any, expected: str) -> np.ndarray:
    """Values as floats."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise FormulaError(
            f"the outcome '{name}' is {array.shape[1]} columns, but {expected} is expected; "
            "p(successes, trials) is for family=bm.families.Binomial(), and categories for "
            "bm.families.Ordinal()"
        )
    if array.dtype.kind not in "biuf":
        raise FormulaError(
            f"the outcome '{name}' holds {named(dict.fromkeys(array.tolist()))}, but {expected} is "
            "expected; make numbers of it, as by (frame[name] == 'yes').astype(int)"
        )
    return array.astype(float)


def _refuse(name: str, bad: np.ndarray, values: np.ndarray, index: Any, expected: str) -> None:
    if bad.any():
        raise FormulaError(
            f"the outcome '{name}' is {values[bad][0]} in {int(bad.sum())} rows, at index "
            f"{named(index[bad])}, but {expected} is expected; correct these rows, or choose "
            "another family of bm.families"
        )


@dataclass(frozen=True)
class Gaussian(Family):
    """y ~ Normal(eta, sigma); sigma is HalfNormal(sd(y))."""

    def read(
        self, name: str, values: Any, index: pd.Index, categories: tuple[Any, ...]
    ) -> np.ndarray:
        """Any numbers."""
        return _numbers(name, values, "a number a row")

    def centre(self, y: np.ndarray, offset: np.ndarray) -> Centre:
        """The mean of y - offset, and sd(y)."""
        at, unit = float((y - offset).mean()), float((y - offset).std(ddof=1))
        return Centre(at, unit, f"the outcome has mean {at:.4g} and sd {unit:.4g}", "sd(y)")

    def own(self, y: np.ndarray, unit: float) -> tuple[str, ...]:
        """Sigma."""
        return (
            "# The noise: HalfNormal(sd(y)).",
            f'sigma = pyro.sample("sigma", dist.HalfNormal({number(unit)}))',
        )

    @property
    def outcome(self) -> str:
        """Normal."""
        return "dist.Normal(eta, sigma)"


@dataclass(frozen=True)
class StudentT(Gaussian):
    """y ~ StudentT(nu, eta, sigma), for outcomes with outliers; nu ~ Gamma(2, 0.1).

    Source: Juarez and Steel (2010), for the prior of nu.
    """

    def own(self, y: np.ndarray, unit: float) -> tuple[str, ...]:
        """Sigma, and nu by the prior that Stan's authors recommend."""
        return (*super().own(y, unit), 'nu = pyro.sample("nu", dist.Gamma(2.0, 0.1))')

    @property
    def outcome(self) -> str:
        """Student's t."""
        return "dist.StudentT(nu, eta, sigma)"


@dataclass(frozen=True)
class Bernoulli(Family):
    """y, 0 or 1, is 1 with chance 1 / (1 + exp(-eta))."""

    def read(
        self, name: str, values: Any, index: pd.Index, categories: tuple[Any, ...]
    ) -> np.ndarray:
        """0 and 1, or False and True."""
        y = _numbers(name, values, "0 or 1")
        _refuse(name, ~np.isin(y, (0.0, 1.0)), y, index, "0 or 1")
        return y

    def centre(self, y: np.ndarray, offset: np.ndarray) -> Centre:
        """The logit of the mean."""
        return _log_odds(y.sum(), len(y) - y.sum(), float(offset.mean()))

    @property
    def outcome(self) -> str:
        """Bernoulli."""
        return "dist.Bernoulli(logits=eta)"


@dataclass(frozen=True)
class Binomial(Family):
    """y of so many trials, each with chance 1 / (1 + exp(-eta)); the formula's outcome is p(y, n).

    lme4 writes cbind(y, n - y).
    """

    takes_trials: ClassVar[bool] = True

    def read(
        self, name: str, values: Any, index: pd.Index, categories: tuple[Any, ...]
    ) -> np.ndarray:
        """Successes and trials, both whole, with as many trials as successes or more."""
        y = np.asarray(values)
        if y.ndim != 2 or y.shape[1] != 2:
            raise FormulaError(
                f"the outcome '{name}' has no trials, but family=bm.families.Binomial() takes "
                "successes and trials; write p(successes, trials) ~ ..., or for single trials "
                "give bm.families.Bernoulli()"
            )
        y = y.astype(float)
        whole = (y >= 0) & (y == y.round())
        bad = ~whole.all(1) | (y[:, 0] > y[:, 1])
        _refuse(name, bad, y, index, "a whole number of successes of at least as many trials")
        return y

    def centre(self, y: np.ndarray, offset: np.ndarray) -> Centre:
        """The logit of the share of successes."""
        return _log_odds(y[:, 0].sum(), (y[:, 1] - y[:, 0]).sum(), float(offset.mean()))

    @property
    def outcome(self) -> str:
        """Binomial."""
        return 'dist.Binomial(total_count=tasks.x["number of trials"], logits=eta)'


@dataclass(frozen=True)
class Poisson(Family):
    """y ~ Poisson(exp(eta)), of counts."""

    def read(
        self, name: str, values: Any, index: pd.Index, categories: tuple[Any, ...]
    ) -> np.ndarray:
        """Whole numbers of at least 0."""
        expected = "a whole number of at least 0"
        y = _numbers(name, values, expected)
        _refuse(name, (y < 0) | (y != y.round()), y, index, expected)
        return y

    def centre(self, y: np.ndarray, offset: np.ndarray) -> Centre:
        """The log of the mean, or of the rate where there is an offset."""
        at = float(np.log((y.sum() + 0.5) / np.exp(offset).sum()))
        return Centre(at, 1.0, f"the log of the outcome's mean rate is {at:.4g}")

    @property
    def outcome(self) -> str:
        """Poisson."""
        return "dist.Poisson(eta.exp())"


@dataclass(frozen=True)
class NegativeBinomial(Poisson):
    """Counts of mean m = exp(eta) and variance m + dispersion m^2; dispersion ~ Exponential(1).

    The 1 / dispersion is glmmTMB's parameter of nbinom2; 0 is Poisson.
    """

    def own(self, y: np.ndarray, unit: float) -> tuple[str, ...]:
        """The dispersion."""
        return (
            "# The variance is m + dispersion m^2.",
            'dispersion = pyro.sample("dispersion", dist.Exponential(1.0))',
        )

    @property
    def outcome(self) -> str:
        """Negative binomial."""
        return "dist.NegativeBinomial(1 / dispersion, logits=eta + dispersion.log())"


@dataclass(frozen=True)
class Ordinal(Family):
    """Ordered categories by p(y <= k) = 1 / (1 + exp(eta - cutpoint_k)).

    The shares of categories at average predictors are Dirichlet(1, ..., 1), and the cutpoints are
    the logits of their sums. There is no intercept, which the cutpoints are.
    """

    has_level: ClassVar[bool] = False

    def read(
        self, name: str, values: Any, index: pd.Index, categories: tuple[Any, ...]
    ) -> np.ndarray:
        """The place of each among the categories: 0, 1, ..."""
        given = np.asarray(values, dtype=object)
        place = {category: at for at, category in enumerate(categories)}
        bad = np.array([value not in place for value in given])
        _refuse(name, bad, given, index, f"one of {named(categories)}")
        return np.array([place[value] for value in given], dtype=float)

    def categories(self, name: str, values: Any) -> tuple[Any, ...]:
        """Those of an ordered categorical column, or whole numbers in their order."""
        if getattr(getattr(values, "dtype", None), "ordered", False):
            return tuple(values.cat.categories)
        expected = "an ordered category, pd.Categorical(..., ordered=True), or a whole number"
        numbers = _numbers(name, values, expected)
        index = getattr(values, "index", np.arange(len(numbers)))
        _refuse(name, numbers != numbers.round(), numbers, index, expected)
        return tuple(np.unique(numbers))

    def check_varies(self, name: str, y: np.ndarray, categories: tuple[Any, ...]) -> None:
        """Refuse categories of which no row is."""
        found = len(np.unique(y))
        if found < 2 or found != len(categories):
            raise FormulaError(
                f"of the {len(categories)} categories of '{name}' {found} occur in the frame; at "
                "least two are expected, and each in some row: drop the others, as by "
                "frame[name].cat.remove_unused_categories()"
            )

    def centre(self, y: np.ndarray, offset: np.ndarray) -> Centre:
        """The predictor is centred by the cutpoints."""
        return Centre(0.0, 1.0, "the predictor is on the scale of log odds")

    def own(self, y: np.ndarray, unit: float) -> tuple[str, ...]:
        """The shares of the categories at average predictors."""
        return (f'shares = pyro.sample("shares", dist.Dirichlet(torch.ones({int(y.max()) + 1})))',)

    @property
    def outcome(self) -> str:
        """Cumulative logit."""
        return "dist.OrderedLogistic(eta, cutpoints)"


def _log_odds(yes: float, no: float, offset: float) -> Centre:
    at = float(np.log((yes + 0.5) / (no + 0.5))) - offset
    return Centre(at, 1.0, f"the log odds of the outcome's mean are {at:.4g}")


def check_family(family: object) -> None:
    """Refuse what is no family, as a name.

    Raises:
        TypeError: with an object to give.
    """
    if not isinstance(family, Family):
        raise TypeError(
            f"formula got family={family!r}; give an object of bm.families, as "
            "family=bm.families.Poisson()"
        )


def number(value: float) -> str:
    """A number for the source, of six digits."""
    return repr(float(f"{value:.6g}"))
