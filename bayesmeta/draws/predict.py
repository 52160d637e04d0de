"""Outcomes by a posterior: draws of them, and how likely those are that were seen."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayesmeta.data.by_row import by_row
from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import at_draws, in_chunks, joined, kept_by, random_at_draws
from bayesmeta.draws.draws import Draws, where_the_tasks_are
from bayesmeta.draws.own_tasks import Own, at_rows, have_rows_of, places_among
from bayesmeta.model import outcomes
from bayesmeta.model.checks import first_few
from bayesmeta.phi.amortised import Amortised
from bayesmeta.running.isolation import isolated

if TYPE_CHECKING:
    import pandas as pd

# Of a distribution that does not know its moments: in all, and at each draw of theta and phi.
_SAMPLES, _FEWEST_SAMPLES = 4000, 8


@dataclass(frozen=True, eq=False)
class Prediction:
    """Draws of outcomes given the inputs, p(y | x, D).

    Attributes:
        draws: (chain, draw, tasks, data, ...); padded cells hold NaN.
        means: E[y | x, theta, phi] at each draw, of the same shape. For a categorical outcome they
            are the probabilities of its classes, (chain, draw, tasks, data, classes).
        variances: var(y | x, theta, phi) at each draw, of the shape of means. Where a distribution
            does not know them, as a transformed one, both are estimated by samples of it; they are
            NaN or inf where there are none, as of a Cauchy.
        tasks: whose inputs were given.
    """

    draws: Tensor
    means: Tensor
    variances: Tensor
    tasks: Tasks

    @property
    def mean(self) -> Tensor:
        """The predictive mean (tasks, data, ...); of classes, (tasks, data, classes)."""
        return self.means.mean((0, 1))

    @property
    def sd(self) -> Tensor:
        """The predictive standard deviation, of the shape of `mean`.

        sd^2 = E[var(y | theta, phi)] + var(E[y | theta, phi]), over the draws of theta and phi.
        """
        between = self.means.flatten(0, 1).var(0, correction=0)
        return (self.variances.mean((0, 1)) + between).sqrt()

    def quantile(self, q: float) -> Tensor:
        """The q-quantile of the predictive draws, (tasks, data, ...), for q between 0 and 1.

        Raises:
            ValueError: where q is not between 0 and 1, or there is a single draw, as after a point
                estimate.
        """
        asked = torch.as_tensor(q)
        if not ((asked >= 0) & (asked <= 1)).all():
            raise ValueError(
                f"quantile got q={q}; it takes probabilities between 0 and 1, such as 0.9"
            )
        if self.draws.shape[:2].numel() == 1:
            raise ValueError(
                "a point estimate predicts one draw, which has no quantiles; ask for more outcomes "
                "from it: predict(repeats=1000)"
            )
        return torch.quantile(self.draws.flatten(0, 1), q, dim=0)

    def to_frame(self, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> pd.DataFrame:
        """One row a datapoint with "mean", "sd" and quantiles, as "5%".

        Rows are those of the data frame that the tasks were made from, by its index and in its
        order, so that `frame.join(prediction.to_frame())` stands them side by side where no label
        of the index is there twice. Without a frame they are those of a task under the other's, by
        (task, row). Outcomes of several numbers have a column for each, as "mean[0]", and a
        categorical one has a mean and an sd for each class.

        Raises:
            ValueError: as `quantile`; after a point estimate, quantiles=() asks for none.
        """
        values = {"mean": self.mean, "sd": self.sd}
        values |= {f"{100 * q:g}%": self.quantile(q) for q in quantiles}
        return by_row(values, self.tasks)


@where_the_tasks_are
def predict(
    draws: Draws,
    tasks: Tasks | Own = Own.TASKS,
    *,
    outcome: str | None = None,
    repeats: int = 1,
    seed: int | None = None,
) -> Prediction:
    """Outcomes of the draws' tasks at the inputs given; see `Posterior.predict`."""
    name = draws.structure.outcome(outcome)
    return predictions(draws, tasks, [name], repeats=repeats, seed=seed)[name]


@where_the_tasks_are
def predictions(
    draws: Draws,
    tasks: Tasks | Own,
    names: Sequence[str],
    *,
    repeats: int = 1,
    seed: int | None = None,
) -> dict[str, Prediction]:
    """Of each of these outcomes, drawn together."""
    seed = draws.seeds[1] if seed is None else seed
    tasks, theta, phi = _own(draws, tasks, repeats, seed)
    density = draws.centred
    samples = max(_FEWEST_SAMPLES, _SAMPLES // theta.shape[:2].numel())

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
        return outcomes.predict(density, theta, free, given, names, samples)

    with isolated(seed):
        outputs = in_chunks(random_at_draws, at, theta, phi, tasks)
    each = [_hide_padding(joined(o), tasks) for o in zip(*outputs, strict=True)]
    triples = zip(each[::3], each[1::3], each[2::3], strict=True)
    return {n: Prediction(*found, tasks) for n, found in zip(names, triples, strict=True)}


@where_the_tasks_are
def log_likelihood(
    draws: Draws, tasks: Tasks | Own = Own.TASKS, *, outcome: str | None = None
) -> Tensor:
    """log p(y_ij | x_ij, phi_i, theta) at each draw; see `Posterior.log_likelihood`."""
    tasks, theta, phi = _own(draws, tasks)
    if tasks.y is None:
        raise TasksError("the tasks have no y to score; predict gives draws of it")
    density, names = draws.centred, _scored(draws, outcome)

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        return (outcomes.pointwise(density, theta, free, given, names),)

    try:
        outputs = in_chunks(kept_by(density, ("likelihood", names)), at, theta, phi, tasks)
    except (IndexError, RuntimeError):
        # Such as of a class that the model does not have: say so, if that is it.
        density.reading.check(tasks)
        raise
    return joined([values for (values,) in outputs])


@where_the_tasks_are
def log_score(
    draws: Draws, tasks: Tasks | Own = Own.TASKS, *, outcome: str | None = None
) -> Tensor:
    """log of the mean over draws of p(y_ij | x_ij, phi_i, theta); see `Posterior.log_score`."""
    values = log_likelihood(draws, tasks, outcome=outcome).flatten(0, 1)
    score = torch.logsumexp(values, 0) - math.log(len(values))
    return score.masked_fill(~observed(draws, tasks, outcome=outcome), torch.nan)


@where_the_tasks_are
def observed(draws: Draws, tasks: Tasks | Own = Own.TASKS, *, outcome: str | None = None) -> Tensor:
    """Which cells (tasks, data) hold an outcome: no padding, and not masked in the model."""
    tasks, theta, phi = _own(draws, tasks)
    names = _scored(draws, outcome)
    reading = draws.density.reading
    if not set(names) & {*reading.masked, *draws.structure.data_factors}:
        return tasks.mask
    density = draws.centred

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        found = outcomes.observed(density, theta, free, given)
        return (torch.stack([found[name] for name in names]).any(0),)

    outputs = in_chunks(at_draws, at, theta[:1, :1], phi[:1, :1], tasks)
    return joined([values for (values,) in outputs])[0, 0]


@where_the_tasks_are
def outcome_values(
    draws: Draws, tasks: Tasks | Own = Own.TASKS, *, outcome: str | None = None
) -> Tensor:
    """What was observed, (tasks, data, ...): y, or what of it the model gives to that site."""
    tasks, theta, phi = _own(draws, tasks)
    density, name = draws.centred, draws.structure.outcome(outcome)

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        return (outcomes.values(density, theta, free, given)[name],)

    outputs = in_chunks(at_draws, at, theta[:1, :1], phi[:1, :1], tasks)
    return joined([values for (values,) in outputs])[0, 0]


def _scored(draws: Draws, outcome: str | None) -> tuple[str, ...]:
    """What makes the density of a datapoint: an outcome, or all of them with their factors."""
    return draws.density.reading.scored if outcome is None else (draws.structure.outcome(outcome),)


def _own(
    draws: Draws, tasks: Tasks | Own, repeats: int = 1, seed: int | None = None
) -> tuple[Tasks, Tensor, Tensor]:
    """The tasks given, and the draws of theta and of centred phi that are theirs, repeated."""
    theta, phi = (
        x if repeats == 1 else x.repeat_interleave(repeats, dim=1)
        for x in (draws.fit.theta, draws.centred_phi)
    )
    summed = draws.density.reading.summed
    if summed is not None and summed.of_tasks:
        states = draws.states[..., :1].repeat_interleave(repeats, dim=1)
        phi = torch.cat([phi, states], -1)
    if not isinstance(tasks, Own):
        places = places_among(tasks, draws.tasks)
        tasks = tasks.to(draws.tasks.device, draws.tasks.dtype)
        draws.density.reading.check_padding(tasks)
        _warn_of_unlike(draws, tasks)
        own = draws.tasks.select(torch.tensor(places, device="cpu"))
        seed = draws.seeds[1] if seed is None else seed
        phi = at_rows(draws.centred, theta, phi[:, :, places], own, tasks, seed)
        if tasks.are_episodes or not have_rows_of(own, tasks):
            tasks = replace(tasks, is_query=True)
        return tasks, theta, phi
    if not bool(draws.tasks.mask.any()):
        raise TasksError(
            "the posterior's own tasks hold no datapoints (a posterior that was loaded holds "
            "no data); give tasks of the same names, as in predict(tasks)"
        )
    return draws.tasks, theta, phi


def _warn_of_unlike(draws: Draws, tasks: Tasks) -> None:
    """Name tasks to predict where a network that was trained to predict saw no such inputs."""
    strategy = draws.strategy
    if not isinstance(strategy, Amortised) or strategy.is_posterior:
        return
    unlike = strategy.unlike(draws.density, tasks.without_y(), draws.fit.state)
    if unlike:
        named = first_few([f"{name} ({what})" for name, what in unlike.items()])
        warnings.warn(
            f"inputs of {len(unlike)} of {len(tasks)} tasks to predict are outside of what the "
            f"network was trained on: {named}; what it predicts there rests on nothing",
            stacklevel=2,
        )


def _hide_padding(value: Tensor, tasks: Tasks) -> Tensor:
    """NaN in the cells of (chain, draw, tasks, data, ...) that no datapoint is in."""
    hidden = ~tasks.mask.reshape(*tasks.mask.shape, *[1] * (value.dim() - 4))
    return value.masked_fill(hidden, torch.nan)
