"""compare: several models of the same tasks, by what they predict of datapoints held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.posterior.own_tasks import have_rows_of, places_among
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.posterior.predict import observed, outcome_values


@dataclass(frozen=True)
class Comparison:
    """Held-out scores of several posteriors; printing it shows the overall table.

    Attributes:
        overall: by model, the best first: "log_score", nats a datapoint, with "log_score_error";
            "error", root mean square or, of classes, the share that is wrong (one for each outcome
            where there are several, as "error height"); "behind", how far its log score is behind
            the best, with "behind_error". Standard errors are over tasks, of the differences task
            by task for "behind"; over datapoints where there is one task.
        by_task: by task: "datapoints", and for each model "log_score" and "error", as columns
            ("log_score", model).
        seen: the models that were fitted to these very datapoints, whose scores flatter them.
    """

    overall: pd.DataFrame
    by_task: pd.DataFrame
    seen: tuple[str, ...] = ()

    def __str__(self) -> str:
        count = int(self.by_task["datapoints"].sum())
        head = f"{count} datapoints of {len(self.by_task)} tasks"
        if not self.seen:
            return f"{head}, held out\n{self.overall.round(3).to_string()}"
        said = (
            f"{head}, to which {', '.join(self.seen)} had been fitted: such scores are no measure "
            "of new data; hold some out, as by support, query = tasks.split(shots)"
        )
        return f"{said}\n{self.overall.round(3).to_string()}"


def compare(posteriors: Mapping[str, Posterior], query: Tasks) -> Comparison:
    """Log score and error on held-out datapoints of the posteriors' tasks.

        bm.compare({"no pooling": post1, "partial pooling": post2}, query)

    The log score of a datapoint is log of the mean over draws of p(y_ij | x_ij, phi_i, theta)
    (Gelman, Hwang & Vehtari 2014), higher is better; of several outcomes it is that of all
    together. What a model masks is not counted, and weights make no difference. Models may differ
    in their sites, even have no theta or no phi, as long as they have the same outcomes.

    Args:
        posteriors: by name.
        query: datapoints that none of them has seen.

    Raises:
        TypeError: where the posteriors have no names, or the query is none.
        ValueError: for no posterior.
        TasksError: where a posterior holds other tasks, the query has no y or no datapoint, or
            models have outcomes of other datapoints.
    """
    _check(posteriors, query)
    found = {name: _Scores.of(posterior, query) for name, posterior in posteriors.items()}
    _check_same_datapoints(found)
    counts = next(iter(found.values())).by_task().counts
    by_task = pd.DataFrame({"datapoints": counts.long().numpy()}, index=list(query.names))
    by_task.index.name = "task"
    for name, scores in found.items():
        total = scores.by_task()
        by_task["log_score", name] = (total.log_score / counts).numpy()
        for label, error in total.errors().items():
            by_task[label, name] = error.numpy()
    seen = tuple(name for name, posterior in posteriors.items() if _has_seen(posterior, query))
    found = {
        name: scores.by_task() if len(query) > 1 else scores.by_datapoint()
        for name, scores in found.items()
    }
    return Comparison(_overall(found), by_task, seen)


def _check(posteriors: object, query: object) -> None:
    """Refuse what cannot be compared."""
    if not isinstance(posteriors, Mapping):
        raise TypeError(
            f'compare got {posteriors!r}; give posteriors by name, {{"name": posterior}}'
        )
    if not posteriors:
        raise ValueError('compare got no posterior; give {"name": posterior, ...}')
    if not isinstance(query, Tasks):
        raise TypeError(
            f"compare got query={query!r}; give bm.Tasks of datapoints held out, as by support, "
            "query = tasks.split(shots)"
        )
    if query.y is None or not query.mask.any():
        raise TasksError("the query has no outcomes to score; give tasks with y")


def _has_seen(posterior: Posterior, query: Tasks) -> bool:
    """Whether the posterior's own datapoints of these tasks are those of the query."""
    own = posterior.tasks.select(torch.tensor(places_among(query, posterior.tasks)))
    assert own.y is not None and query.y is not None
    if own.sizes.tolist() != query.sizes.tolist():
        return False
    y = query.y.to(own.y)
    return torch.equal(own.y[own.mask], y[query.mask]) and have_rows_of(own, query)


def _check_same_datapoints(found: Mapping[str, _Scores]) -> None:
    (first, known), *others = found.items()
    for name, scores in others:
        if not torch.equal(scores.counts, known.counts):
            counts = [f"'{n}' {int(found[n].counts.sum())}" for n in (first, name)]
            raise TasksError(
                f"the models score other datapoints of the query ({' and '.join(counts)}), as they "
                "mask them in other places; give a query in which all of them see the same"
            )


class _Mistakes(NamedTuple):
    """Squared errors, or whether a class is wrong, of an outcome; and how many there are."""

    total: Tensor
    counts: Tensor
    are_classes: bool

    def error(self) -> Tensor:
        """Root mean square, or the share of mistakes."""
        mean = self.total / self.counts
        return mean if self.are_classes else mean.sqrt()


@dataclass(frozen=True)
class _Scores:
    """Log scores, how many there are, and mistakes by column: of cells (tasks, data), or sums."""

    log_score: Tensor
    counts: Tensor
    mistakes: dict[str, _Mistakes]

    @classmethod
    def of(cls, posterior: Posterior, query: Tasks) -> _Scores:
        """What the posterior makes of the query."""
        names = posterior.structure.data
        labels = ["error"] if len(names) == 1 else [f"error {name}" for name in names]
        score = posterior.log_score(query).cpu().double()
        mistakes = {
            label: _mistakes(posterior, query, name)
            for label, name in zip(labels, names, strict=True)
        }
        return cls(score.nan_to_num(0.0), (~score.isnan()).double(), mistakes)

    def by_task(self) -> _Scores:
        """Sums over each task's datapoints, (tasks,)."""
        return self._each(lambda cells: cells.sum(1))

    def by_datapoint(self) -> _Scores:
        """Of the first task, without what was not observed, (datapoints,)."""
        there = self.counts[0] > 0
        return self._each(lambda cells: cells[0, there])

    def total(self) -> _Scores:
        """Sums over all that is left."""
        return self._each(lambda cells: cells.sum())

    def errors(self) -> dict[str, Tensor]:
        """By column."""
        return {label: mistakes.error() for label, mistakes in self.mistakes.items()}

    def _each(self, part: Callable[[Tensor], Tensor]) -> _Scores:
        mistakes = {
            label: _Mistakes(part(m.total), part(m.counts), m.are_classes)
            for label, m in self.mistakes.items()
        }
        return _Scores(part(self.log_score), part(self.counts), mistakes)


def _mistakes(posterior: Posterior, query: Tasks, outcome: str) -> _Mistakes:
    mean = posterior.predict(query, outcome=outcome).mean
    y = outcome_values(posterior.draws, query, outcome=outcome).to(mean)
    seen = observed(posterior.draws, query, outcome=outcome)
    are_classes = mean.dim() == y.dim() + 1
    wrong = (mean.argmax(-1) != y).to(y) if are_classes else (mean - y).square()
    each = wrong.reshape(*wrong.shape[:2], -1).sum(-1)
    each = torch.where(seen, each, 0.0)
    return _Mistakes(each.cpu().double(), seen.cpu().double(), are_classes)


def _overall(found: Mapping[str, _Scores]) -> pd.DataFrame:
    best = max(found.values(), key=lambda scores: float(scores.log_score.sum()))
    counts, rows = best.counts, {}
    for name, scores in found.items():
        behind = best.log_score - scores.log_score
        rows[name] = {
            "log_score": float(scores.log_score.sum() / counts.sum()),
            "log_score_error": _error_of_sum(scores.log_score, counts),
            **{label: float(error) for label, error in scores.total().errors().items()},
            "behind": float(behind.sum() / counts.sum()),
            "behind_error": _error_of_sum(behind, counts),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values("behind")
    table.index.name = "model"
    return table


def _error_of_sum(sums: Tensor, counts: Tensor) -> float:
    """The standard error of a mean over datapoints, of tasks drawn from a population of them."""
    each = sums - counts * sums.sum() / counts.sum()
    some = (counts > 0).sum()
    return float(each.square().sum().sqrt() / counts.sum() * (some / (some - 1)).sqrt())
