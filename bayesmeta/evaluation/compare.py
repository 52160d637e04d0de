"""compare: several models of the same tasks, by what they predict of datapoints held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.posterior.own_tasks import places_among
from bayesmeta.posterior.posterior import Posterior


@dataclass(frozen=True)
class Comparison:
    """Held-out scores of several posteriors; printing it shows the overall table.

    Attributes:
        overall: by model, the best first: "log_score", nats a datapoint, with "log_score_error";
            "error", root mean square or, of classes, the share that is wrong; "behind", how far
            its log score is behind the best, with "behind_error". Standard errors are over tasks,
            of the differences task by task for "behind"; over datapoints where there is one task.
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
    (Gelman, Hwang & Vehtari 2014), higher is better. Models may differ in their sites, even have no
    theta or no phi, as long as they have the same outcome.

    Args:
        posteriors: by name.
        query: datapoints that none of them has seen.

    Raises:
        TypeError: where the posteriors have no names, or the query is none.
        ValueError: for no posterior.
        TasksError: where a posterior holds other tasks, or the query has no y or no datapoint.
    """
    _check(posteriors, query)
    found = {name: _Scores.of(posterior, query) for name, posterior in posteriors.items()}
    by_task = pd.DataFrame({"datapoints": query.sizes.cpu().numpy()}, index=list(query.names))
    by_task.index.name = "task"
    counts = query.sizes.cpu().double()
    for name, scores in found.items():
        total = scores.by_task()
        by_task["log_score", name] = (total.log_score / counts).numpy()
        by_task["error", name] = total.error(counts).numpy()
    seen = tuple(name for name, posterior in posteriors.items() if _has_seen(posterior, query))
    if len(query) > 1:
        found = {name: scores.by_task() for name, scores in found.items()}
        return Comparison(_overall(found, counts), by_task, seen)
    each = query.mask[0].cpu()
    found = {name: scores.by_datapoint(each) for name, scores in found.items()}
    each_one = torch.ones_like(each[each], dtype=counts.dtype)
    return Comparison(_overall(found, each_one), by_task, seen)


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
    width = max(own.num_data, query.num_data)
    known, asked = own.to(query.device, query.dtype).widen(width), query.widen(width)
    assert known.y is not None and asked.y is not None
    pairs = [(known.x[name], column) for name, column in asked.x.items() if name in known.x]
    pairs += [(known.mask, asked.mask), (known.y, asked.y)]
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


@dataclass(frozen=True)
class _Scores:
    """Log scores, and squared errors or mistakes: of datapoints (tasks, data), or sums of them."""

    log_score: Tensor
    mistakes: Tensor
    are_classes: bool

    @classmethod
    def of(cls, posterior: Posterior, query: Tasks) -> _Scores:
        """What the posterior makes of the query."""
        assert query.y is not None
        prediction = posterior.predict(query)
        mean, y = prediction.mean, query.y.to(prediction.means)
        are_classes = mean.dim() == y.dim() + 1
        wrong = (mean.argmax(-1) != y).to(y) if are_classes else (mean - y).square()
        each = wrong.reshape(*wrong.shape[:2], -1).sum(-1)
        log_score = posterior.log_score(query)
        log_score, each = (
            torch.where(query.mask, x, 0.0).cpu().double() for x in (log_score, each)
        )
        return cls(log_score, each, are_classes)

    def by_task(self) -> _Scores:
        """Sums over each task's datapoints, (tasks,)."""
        return replace(self, log_score=self.log_score.sum(1), mistakes=self.mistakes.sum(1))

    def by_datapoint(self, mask: Tensor) -> _Scores:
        """Of the first task, without padding, (datapoints,)."""
        return replace(self, log_score=self.log_score[0, mask], mistakes=self.mistakes[0, mask])

    def error(self, counts: Tensor) -> Tensor:
        """Root mean square, or the share of mistakes, of each task."""
        mean = self.mistakes / counts
        return mean if self.are_classes else mean.sqrt()


def _overall(found: Mapping[str, _Scores], counts: Tensor) -> pd.DataFrame:
    best = max(found.values(), key=lambda scores: float(scores.log_score.sum()))
    rows = {
        name: {
            "log_score": float(scores.log_score.sum() / counts.sum()),
            "log_score_error": _error_of_sum(scores.log_score, counts),
            "error": float(
                _Scores(scores.log_score, scores.mistakes.sum(), scores.are_classes).error(
                    counts.sum()
                )
            ),
            "behind": float((best.log_score - scores.log_score).sum() / counts.sum()),
            "behind_error": _error_of_sum(best.log_score - scores.log_score, counts),
        }
        for name, scores in found.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").sort_values("behind")
    table.index.name = "model"
    return table


def _error_of_sum(sums: Tensor, counts: Tensor) -> float:
    """The standard error of a mean over datapoints, of tasks drawn from a population of them."""
    each = sums - counts * sums.sum() / counts.sum()
    some = (counts > 0).sum()
    return float(each.square().sum().sqrt() / counts.sum() * (some / (some - 1)).sqrt())
