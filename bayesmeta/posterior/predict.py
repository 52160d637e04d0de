"""Outcomes by a posterior: draws of them, and how likely those are that were seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.model import outcomes
from bayesmeta.model.isolation import isolated
from bayesmeta.posterior.at_draws import at_draws, in_chunks, joined, random_at_draws
from bayesmeta.posterior.draws import Draws, where_the_tasks_are
from bayesmeta.posterior.own_tasks import Own, places_among


@dataclass(frozen=True, eq=False)
class Prediction:
    """Draws of outcomes given the inputs, p(y | x, D).

    Attributes:
        draws: (chain, draw, tasks, data, ...); padded cells hold NaN.
        means: E[y | x, theta, phi] at each draw, of the same shape. For a categorical outcome they
            are the probabilities of its classes, (chain, draw, tasks, data, classes).
        variances: var(y | x, theta, phi) at each draw, of the shape of means; NaN where the
            distribution does not know it.
    """

    draws: Tensor
    means: Tensor
    variances: Tensor

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


@where_the_tasks_are
def predict(draws: Draws, tasks: Tasks | Own, *, repeats: int, seed: int | None) -> Prediction:
    """Outcomes of the draws' tasks at the inputs given; see `Posterior.predict`."""
    tasks, phi = _own(draws, tasks)
    density, name = draws.centred, draws.structure.data[0]

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
        return tuple(found[name] for found in outcomes.predict(density, theta, free, given))

    theta, phi = (x.repeat_interleave(repeats, dim=1) for x in (draws.fit.theta, phi))
    with isolated(draws.seeds[1] if seed is None else seed):
        outputs = in_chunks(random_at_draws, at, theta, phi, tasks)
    return Prediction(*(_hide_padding(joined(o), tasks) for o in zip(*outputs, strict=True)))


@where_the_tasks_are
def log_likelihood(draws: Draws, tasks: Tasks | Own) -> Tensor:
    """log p(y_ij | x_ij, phi_i, theta) at each draw; see `Posterior.log_likelihood`."""
    tasks, phi = _own(draws, tasks)
    if tasks.y is None:
        raise TasksError("the tasks have no y to score; predict gives draws of it")
    density = draws.centred

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        return (outcomes.pointwise(density, theta, free, given),)

    try:
        outputs = in_chunks(at_draws, at, draws.fit.theta, phi, tasks)
    except (IndexError, RuntimeError):
        # Such as of a class that the model does not have: say so, if that is it.
        density.reading.check(tasks)
        raise
    return joined([values for (values,) in outputs])


def log_score(draws: Draws, tasks: Tasks | Own) -> Tensor:
    """log of the mean over draws of p(y_ij | x_ij, phi_i, theta); see `Posterior.log_score`."""
    values = log_likelihood(draws, tasks).flatten(0, 1)
    score = torch.logsumexp(values, 0) - math.log(len(values))
    hidden = ~(draws.tasks if isinstance(tasks, Own) else tasks).mask
    return score.masked_fill(hidden, torch.nan)


def _own(draws: Draws, tasks: Tasks | Own) -> tuple[Tasks, Tensor]:
    """The tasks given, and the draws of centred phi that are theirs."""
    if not isinstance(tasks, Own):
        places = places_among(tasks, draws.tasks)
        tasks = tasks.to(draws.tasks.device, draws.tasks.dtype)
        draws.density.reading.check_padding(tasks)
        return tasks, draws.centred_phi[:, :, places]
    if not bool(draws.tasks.mask.any()):
        raise TasksError(
            "the posterior's own tasks hold no datapoints (a posterior that was loaded holds "
            "no data); give tasks of the same names, as in predict(tasks)"
        )
    return draws.tasks, draws.centred_phi


def _hide_padding(value: Tensor, tasks: Tasks) -> Tensor:
    """NaN in the cells of (chain, draw, tasks, data, ...) that no datapoint is in."""
    hidden = ~tasks.mask.reshape(*tasks.mask.shape, *[1] * (value.dim() - 4))
    return value.masked_fill(hidden, torch.nan)
