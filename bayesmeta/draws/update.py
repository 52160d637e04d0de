"""update: theta learns from further tasks, by weights of its draws or by chains from them."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks, check_tasks
from bayesmeta.draws.draws import Draws, where_the_tasks_are
from bayesmeta.draws.evidence import evidence, integral
from bayesmeta.draws.joined import joined
from bayesmeta.draws.same_rows import same_rows
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.phi.base import Phi
from bayesmeta.task_level.importance import TRUSTED_K, smoothed, systematic, without_nan
from bayesmeta.theta.base import Fit, LearnedFrom
from bayesmeta.theta.nuts import NUTS
from bayesmeta.training.fit_options import FitOptions

# The draws of theta are to be worth so many independent ones.
_FEWEST = 400
_CHAINS = NUTS(tune=300, draws=500)


@where_the_tasks_are
def update(
    draws: Draws, tasks: Tasks, before: tuple[str, ...], *, seed: int | None, progress: bool
) -> Draws:
    """Draws given further tasks too; see `Posterior.update`.

    Args:
        draws: of theta, with what they were made of.
        tasks: to learn from.
        before: what there was to be said against the draws of theta.
        seed, progress: as of `Posterior.update`.
    """
    began = time.perf_counter()
    old = _check_given(draws, tasks)
    tasks = _apart_from(old, tasks.to(draws.tasks.device, draws.tasks.dtype))
    draws.density.reading.check(tasks)
    density, by = draws.centred, _way(draws, tasks)
    seed = draws.seeds[0] if seed is None else seed
    weighed = _weigh(draws, by, tasks)
    known = tasks if old is None else joined(old, tasks)
    can_sample = old is not None or draws.fit.is_prior
    fit = replace(
        draws.fit,
        density=density,
        tasks=known,
        theta=weighed.picked(seed)[None],
        phi=None,
        states=None,
        stats={},
        told={},
        losses=torch.empty(0),
        log_weights=None,
        log_q=None,
        notes=(weighed.note(tasks),),
        doubts=weighed.doubts(can_sample=can_sample),
        pareto_k=weighed.k,
        learned_from=_learned(draws, known) if old is None else LearnedFrom.of(known),
        is_adapted=True,
        is_prior=False,
    )
    if fit.doubts and can_sample:
        fit = _sampled(fit, by, seed, progress)
    elif before:
        # Weights do not mend what they are of.
        told = f"theta was updated from draws of which was said: {' '.join(before)}"
        fit = replace(fit, doubts=(*(fit.doubts or ()), told.removesuffix(".")))
    fit = replace(fit, seconds={**fit.seconds, "update": time.perf_counter() - began})
    return Draws(fit, by if draws.strategy.is_joint else draws.strategy, False, seed)


def _check_given(draws: Draws, tasks: object) -> Tasks | None:
    """The tasks that theta has learned from; None where they are not known, or there are none."""
    check_tasks("tasks", tasks)
    assert isinstance(tasks, Tasks)
    if tasks.y is None or not bool(tasks.mask.any()):
        raise TasksError("update got tasks without outcomes, of which theta learns nothing")
    if tasks.query is not None:
        raise TasksError(
            "update got tasks with a query, which is scored and not learned from; give tasks of "
            "all their datapoints"
        )
    if not draws.density.d_theta:
        raise StructureError(
            "the model has no theta, so that tasks tell nothing of each other: "
            "post.adapt(tasks) has their phi"
        )
    if draws.is_point:
        raise StructureError(
            "theta is a point, which has no draws that could be weighed by what further tasks "
            "say; fit to all tasks, or fit with theta=bm.NUTS() or theta=bm.Importance()"
        )
    learned = draws.fit.learned_from
    old = None if learned is None else learned.tasks
    if old is not None:
        again = same_rows(tasks, old).any(1)
        _check_new([n for n, is_old in zip(tasks.names, again.tolist(), strict=True) if is_old])
    elif learned is not None and tasks.origin is None:
        _check_new([n for n in tasks.names if n in set(learned.names or ())])
    return old


def _learned(draws: Draws, tasks: Tasks) -> LearnedFrom:
    """These tasks, and those before of which the names are known at most."""
    before = draws.fit.learned_from
    if before is None:
        return LearnedFrom.of(tasks)
    # Without the data of some of them, theta cannot be inferred again from the others.
    return LearnedFrom(None, (*(before.names or ()), *tasks.names))


def _check_new(known: list[str]) -> None:
    """Refuse tasks that theta has learned from, by their datapoints or their names."""
    if known:
        raise TasksError(
            f"theta has learned from these tasks before: {first_few(known)}; counted twice, they "
            "would make it too sure. Give new tasks alone, or other names to others"
        )


def _apart_from(old: Tasks | None, tasks: Tasks) -> Tasks:
    """The tasks with names of their own; numbered ones go on from those that were learned from.

    Raises:
        TasksError: where theta has learned from a task of that name.
    """
    both = [] if old is None else [n for n in tasks.names if n in set(old.names)]
    if not both:
        return tasks
    assert old is not None
    if tasks.origin is None:
        _check_new(both)
    taken, free = set(old.names), map(str, itertools.count(len(old)))
    names = itertools.islice((name for name in free if name not in taken), len(tasks))
    return replace(tasks, names=tuple(names))


def _way(draws: Draws, tasks: Tasks) -> Phi:
    """How phi is integrated out: as the fit did, where that is a function of theta."""
    phi = draws.strategy
    if phi.has_evidence and phi.is_smooth and not phi.start(draws.centred, tasks):
        return phi
    return integral(draws.centred, tasks, "update")


class _Weighed(NamedTuple):
    """Draws of theta (draws, d_theta) with weights (draws,) that sum to one, and their Pareto k."""

    theta: Tensor
    weights: Tensor
    k: float

    @property
    def effective(self) -> float:
        return float(1 / self.weights.square().sum())

    def picked(self, seed: int) -> Tensor:
        return self.theta[systematic(self.weights, len(self.theta), seed)]

    def note(self, tasks: Tasks) -> str:
        return (
            f"theta was updated by {len(tasks)} task(s): {len(self.theta):,} draws of it were "
            f"weighed, Pareto k {self.k:.2f}, worth {self.effective:,.0f}"
        )

    def doubts(self, *, can_sample: bool) -> tuple[str, ...]:
        # Of weights that are nearly alike k says nothing.
        is_even = self.effective > len(self.theta) / 2
        is_enough = self.effective >= min(_FEWEST, len(self.theta) / 4)
        if is_even or (self.k <= TRUSTED_K and is_enough):
            return ()
        instead = "" if can_sample else (
            "; the tasks before are not known here, as after loading, so that theta could not be "
            "sampled again: fit to all tasks"
        )  # fmt: skip
        return (
            f"the further tasks move theta to where few draws are: Pareto k {self.k:.2f} (should "
            f"be at most {TRUSTED_K}), worth {self.effective:.0f} draws{instead}",
        )


def _weigh(draws: Draws, by: Phi, tasks: Tasks) -> _Weighed:
    """By p(D_new | theta), of which p(theta | D, D_new) is p(theta | D) times."""
    theta = draws.fit.theta.flatten(0, 1)
    log_p = evidence(draws.centred, by, theta, tasks).sum(1)
    log_weights, k = smoothed(without_nan(log_p)[:, None])
    return _Weighed(theta, log_weights[:, 0].softmax(0), float(k[0]))


def _sampled(fit: Fit, by: Phi, seed: int, progress: bool) -> Fit:
    """Chains that start at draws that were picked, of theta given all tasks."""
    starts, density = fit.theta[0], fit.density
    nothing = starts.new_zeros(len(fit.tasks), density.width(fit.tasks))

    def start(chain: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(chain)
        at = starts[int(torch.randint(len(starts), (), generator=generator))]
        values = density.constrain(at, nothing, fit.tasks)
        return {name: values[name] for name in density.structure.theta}

    options = FitOptions(seed, progress)
    found = replace(_CHAINS, start=start).fit(density, fit.tasks, by, options)
    told = f"{fit.notes[0]}; that is too few, so that theta was sampled anew, from there"
    return replace(
        fit,
        density=found.density,
        tasks=fit.tasks,
        theta=found.theta.to(fit.theta),
        stats=found.stats,
        seconds=found.seconds,
        notes=(told, *found.notes),
        doubts=None,
        pareto_k=None,
    )
