"""Effective sample size, R-hat and means of draws: one scorer for every contestant."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.contest import Result
from benchmarks.problems import Arrays

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

# A difference of means, in posterior sd, beyond which two contestants sample different posteriors.
TOLERANCE = 0.15
# How many Monte Carlo standard errors a difference may be before it counts at all.
MONTE_CARLO = 5.0


@dataclass(frozen=True)
class Score:
    """What one run achieved; `ess`, `mean` and `sd` hold every scored number, flat."""

    min_ess: float
    slowest: str
    max_rhat: float
    ess: NDArray[np.float64]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]


def _flat(values: Arrays, names: list[str]) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(values[name]) for name in names])


def _two_chains(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """ArviZ wants two chains for R-hat; the halves of a lone one will do."""
    if len(draws) > 1:
        return draws
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, half : 2 * half]])


def score_draws(result: Result) -> Score:
    """Bulk ESS and rank-normalised R-hat of each scored number (Vehtari et al. 2021)."""
    names = sorted(result.draws)
    draws = az.convert_to_dataset(result.draws)
    ess = {name: value.values for name, value in az.ess(draws, method="bulk").items()}
    halves = {name: _two_chains(value) for name, value in result.draws.items()}
    rhat = {name: value.values for name, value in az.rhat(az.convert_to_dataset(halves)).items()}
    smallest = {name: float(np.min(value)) for name, value in ess.items()}
    slowest = min(smallest, key=lambda name: smallest[name])
    return Score(
        min_ess=smallest[slowest],
        slowest=slowest,
        max_rhat=float(np.max(_flat(rhat, names))),
        ess=_flat(ess, names),
        mean=_flat({name: value.mean((0, 1)) for name, value in result.draws.items()}, names),
        sd=_flat({name: value.std((0, 1)) for name, value in result.draws.items()}, names),
    )


@dataclass(frozen=True)
class Gap:
    """How far the means of one contestant are from another's, in posterior sd."""

    largest: float
    disagrees: bool


def pooled(scores: list[Score]) -> Score:
    """The repeats of one contestant as one run: means averaged, ESS added."""
    first = scores[0]
    ess = np.sum([s.ess for s in scores], axis=0)
    mean = np.mean([s.mean for s in scores], axis=0)
    sd = np.sqrt(np.mean([s.sd**2 for s in scores], axis=0))
    max_rhat = max(s.max_rhat for s in scores)
    return Score(float(ess.min()), first.slowest, max_rhat, ess, mean, sd)


def gap(one: Score, reference: Score) -> Gap:
    """Compare means; short runs are allowed their Monte Carlo error on top of `TOLERANCE`."""
    if one.mean.shape != reference.mean.shape:
        return Gap(float("inf"), True)
    difference = np.abs(one.mean - reference.mean) / reference.sd
    error = np.sqrt(1.0 / one.ess + 1.0 / reference.ess)
    beyond = difference > np.maximum(TOLERANCE, MONTE_CARLO * error)
    return Gap(float(difference.max()), bool(beyond.any()))
