"""compare: several models of the same tasks, by what they predict of datapoints held out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.evaluation.comparable import check_same_datapoints, on_one_scale, with_kinds
from bayesmeta.evaluation.scores import Scores
from bayesmeta.evaluation.seen import may_be_seen, quoted, seen_by_phi, seen_by_theta
from bayesmeta.posterior.posterior import Posterior

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """Held-out scores of several posteriors; printing it shows the overall table.

    Attributes:
        overall: by model, the best first, and last those that have seen the query, or failed:
            "log_score", nats a datapoint, with "log_score_error"; "error", root mean square or, of
            classes, the share that is wrong (one for each outcome where there are several, as
            "error height"; where some models have classes and others numbers, "error (share
            wrong)" and "error (root mean square)"); "behind", how far its log score is behind the
            best, with "behind_error". Standard errors are over tasks, of the differences task by
            task for "behind"; over datapoints where one task has any.
        by_task: by task: "datapoints", and for each model "log_score" and "error", as columns
            ("log_score", model).
        seen: the models of which theta or phi was fitted to any of these datapoints, so that their
            scores flatter them.
        failed: the models some of whose scores are no numbers, so that they have none.
        notes: sentences on what the table cannot say.
    """

    overall: pd.DataFrame
    by_task: pd.DataFrame
    seen: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        counts = self.by_task["datapoints"]
        head = f"{int(counts.sum())} datapoints of {int((counts > 0).sum())} tasks"
        said = [head if self.seen else f"{head}, held out", *self.notes]
        return "\n".join([*said, self.overall.round(3).to_string()])


def compare(
    posteriors: Mapping[str, Posterior],
    query: Tasks,
    *,
    log_jacobian: Mapping[str, Tensor] | None = None,
) -> Comparison:
    """Log score and error on held-out datapoints of the posteriors' tasks.

        bm.compare({"no pooling": post1, "partial pooling": post2}, query)

    The log score of a datapoint is log of the mean over draws of p(y_ij | x_ij, phi_i, theta)
    (Gelman, Hwang & Vehtari 2014), higher is better; of several outcomes it is that of all
    together. What a model masks is not counted, and weights make no difference. Models may differ
    in their sites, even have no theta or no phi, as long as they have the same outcomes.

    A model of transformed outcomes z(y), such as their logarithm, has a density of other numbers:
    p(y) = p(z) |dz/dy|, and log |dz/dy| is given for it.

        bm.compare({"normal": post1, "lognormal": post2}, query,
                   log_jacobian={"lognormal": -query.y.log()})

    Args:
        posteriors: by name.
        query: datapoints that none of them has seen.
        log_jacobian: by name of a model, log |dz/dy| of each datapoint, (tasks, data).

    Raises:
        TypeError: where the posteriors have no names, or the query is none.
        ValueError: for no posterior.
        TasksError: where a posterior holds other tasks, the query has no y or no datapoint, or
            models have outcomes of other datapoints, or other numbers as outcomes.
    """
    _check(posteriors, query)
    found = {name: Scores.of(posterior, query) for name, posterior in posteriors.items()}
    check_same_datapoints(found)
    found, notes = on_one_scale(found, query, log_jacobian or {})
    found = with_kinds(found)
    seen, told = _told_of_seen(posteriors, query)
    failed = tuple(name for name, scores in found.items() if scores.failed)
    one_task = int((next(iter(found.values())).counts.sum(1) > 0).sum()) == 1
    summed = {n: s.by_datapoint() if one_task else s.by_task() for n, s in found.items()}
    overall = _overall(summed, seen, failed)
    notes = (*told, *_told_of_numbers(found, failed), *notes)
    return Comparison(overall, _by_task(found, query), seen, failed, notes)


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


def _told_of_seen(
    posteriors: Mapping[str, Posterior], query: Tasks
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models that have seen datapoints of the query, and sentences on them."""
    count, told, seen = int(query.mask.sum()), [], {}
    for name, posterior in posteriors.items():
        cells = seen_by_phi(posterior, query) | seen_by_theta(posterior, query)
        if cells.any():
            seen[name] = int(cells.sum())
        if unsure := may_be_seen(posterior, query):
            told.append(
                f"{name} was loaded, and its theta fitted to tasks of the same names "
                f"({quoted(unsure)}): if these are the same datapoints, it has seen them"
            )
    if seen:
        of = [n if k == count else f"{n} (to {k} of them)" for n, k in seen.items()]
        below = "" if len(seen) == len(posteriors) else ", and stand below the others"
        told.append(
            f"{', '.join(of)} had been fitted to these datapoints: such scores are no measure of "
            f"new data{below}; hold some out, as by support, query = tasks.split(shots), and fit "
            "theta without them"
        )
    return tuple(seen), tuple(told)


def _told_of_numbers(found: Mapping[str, Scores], failed: tuple[str, ...]) -> tuple[str, ...]:
    """Sentences on scores that are no finite numbers, and on errors that there are none of."""
    told = []
    if failed:
        told.append(
            f"no number for some datapoints: {', '.join(failed)}, whose draws are NaN or infinite "
            "there, as where training went astray; they stand last, and by_task says where"
        )
    for name, scores in found.items():
        if count := int((scores.log_score == -torch.inf).sum()):
            told.append(f"impossible by {name}: {count} datapoints, whose log score is -inf")
    if int(next(iter(found.values())).counts.sum()) == 1:
        told.append("one datapoint has no standard error")
    return tuple(told)


def _by_task(found: Mapping[str, Scores], query: Tasks) -> pd.DataFrame:
    import pandas as pd

    counts = next(iter(found.values())).by_task().counts
    table = pd.DataFrame({"datapoints": counts.long().numpy()}, index=list(query.names))
    table.index.name = "task"
    for name, scores in found.items():
        total = scores.by_task()
        table["log_score", name] = (total.log_score / counts).numpy()
        for label, error in total.errors().items():
            table[label, name] = error.numpy()
    return table


def _overall(
    found: Mapping[str, Scores], seen: tuple[str, ...], failed: tuple[str, ...]
) -> pd.DataFrame:
    """The table; the best is one that has not seen the query, where there is one."""
    import pandas as pd

    totals = {name: float(scores.log_score.sum()) for name, scores in found.items()}
    order = sorted(
        found, key=lambda n: (n in failed, n in seen, 0.0 if n in failed else -totals[n])
    )
    best = found[order[0]]
    counts, rows = best.counts, {}
    for name in order:
        scores = found[name]
        behind = best.log_score - scores.log_score
        rows[name] = {
            "log_score": float(scores.log_score.sum() / counts.sum()),
            "log_score_error": _error_of_sum(scores.log_score, counts),
            **{label: float(error) for label, error in scores.total().errors().items()},
            "behind": float(behind.sum() / counts.sum()),
            "behind_error": _error_of_sum(behind, counts),
        }
    last = ["behind", "behind_error"]
    table = pd.DataFrame.from_dict(rows, orient="index")
    table = table[[*(column for column in table if column not in last), *last]]
    table.index.name = "model"
    return table


def _error_of_sum(sums: Tensor, counts: Tensor) -> float:
    """The standard error of a mean over datapoints, of tasks drawn from a population of them."""
    each = sums - counts * sums.sum() / counts.sum()
    some = (counts > 0).sum()
    return float(each.square().sum().sqrt() / counts.sum() * (some / (some - 1)).sqrt())
