"""leave_one_task_out: how well theta, learned from all other tasks, predicts each task whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from tqdm import tqdm

from bayesmeta.draws.evidence import integral
from bayesmeta.influence.left_out import check_left_out, notes_on, tasks_seen
from bayesmeta.influence.subsample import Sum, approximated, check_subsample, drawn, sum_of
from bayesmeta.influence.without_a_task import WithoutATask
from bayesmeta.phi import Phi
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.isolation import undisturbed
from bayesmeta.theta import Theta

if TYPE_CHECKING:
    import pandas as pd


# Pareto k up to which weights are trusted, and at which draws that are moved are left there.
_TRUSTED, _GOOD = 0.5, 0.3


@dataclass(frozen=True)
class TaskScores:
    """Log scores of tasks that theta has not seen, or that were left out of it, in nats.

    Attributes:
        table: by task that was looked at: "datapoints"; "log_score", log p(D_i | D_-i);
            "left_out", whether theta had seen the task, which was taken out; "pareto_k" of the
            weights by which that was done, or of those that the task would give to draws of theta;
            "how" it was done, by "weights", by "moments" or by a "refit"; "refitted"; "influence",
            by how many sds the mean of theta moves without the task, of the number that it "moves"
            most, unconstrained; of a subsample the score's "approximation". Tasks without
            datapoints, and a point, have no weights, and NaN.
        draws: so many of theta were used; 1 of a point.
        notes: sentences on tasks that were not left out.
        approximations: of a subsample, about what the score is of every task with datapoints, by
            name; None where the table has all tasks.
    """

    table: pd.DataFrame
    draws: int
    notes: tuple[str, ...] = ()
    approximations: pd.Series[float] | None = None

    @property
    def total(self) -> float:
        """The sum over all tasks, the larger the better; of a subsample, an estimate of it."""
        return self._sum.total

    @property
    def error(self) -> float:
        """Its standard error, as of a sum over tasks drawn from a population of them.

        Of a subsample it is an estimate too: NaN where that has no root, as of very few tasks.
        """
        return self._sum.error

    @property
    def subsampling_error(self) -> float:
        """The standard error of `total` as that of these tasks, of which few were looked at.

        It is 0 where all were, and comes on top of `error`.
        """
        return self._sum.subsampling_error

    @property
    def _sum(self) -> Sum:
        scores = self.table["log_score"][self.table["datapoints"] > 0]
        if self.approximations is None:
            error = np.sqrt(len(scores)) * scores.std()
            return Sum(float(scores.sum()), float(error), 0.0)
        own = self.table["approximation"].to_numpy()
        return sum_of(scores.to_numpy(), own, self.approximations.to_numpy())

    @property
    def trusted_k(self) -> float:
        """The largest Pareto k at which so many draws do (Vehtari et al. 2024), 0.5 at most.

        A score is the log of a mean of weights, whose variance is infinite from there on.
        """
        return min(_TRUSTED, 1 - 1 / float(np.log10(max(self.draws, 2))))

    @property
    def doubtful(self) -> list[str]:
        """Tasks whose weights are not to be trusted, and that were not refitted."""
        if self.draws == 1:
            return []
        good = self.table["refitted"] | (self.table["pareto_k"] <= self.trusted_k)
        return [str(name) for name in self.table.index[~good & (self.table["datapoints"] > 0)]]

    def __str__(self) -> str:
        count, out = (int(self.table[name].sum()) for name in ("refitted", "left_out"))
        moved = int((self.table["how"] == "moments").sum())
        how = "each left out in turn" if out == len(self.table) else f"{out} of them left out"
        of, by = f"{len(self.table)} tasks", ""
        if self.approximations is not None:
            of = f"{len(self.approximations)} tasks, of which {len(self.table)} were looked at"
            by = f", +- {self.subsampling_error:.2g} of looking at these alone"
        lines = [
            f"log score of {of}, {how}: {self.total:.1f} +- {self.error:.1f} nats{by}; "
            f"{moved} of them by draws that were moved, {count} by a fit without the task",
            *self.notes,
        ]
        if self.doubtful:
            few = self.trusted_k < _TRUSTED
            more = f"{self.draws} draws are too few to tell, give more" if few else ""
            again = ["give refit=bm.NUTS()"] if out else []
            lines.append(
                f"not to be trusted (Pareto k above {self.trusted_k:.2f}): "
                f"{', '.join(self.doubtful)}; {', or '.join([*filter(None, [more]), *again])}"
            )
        return "\n".join(lines)


@undisturbed()
def leave_one_task_out(
    posterior: Posterior,
    *,
    refit: Theta | None = None,
    phi: Phi | None = None,
    subsample: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> TaskScores:
    """The log score of each task by the posterior of theta given all others.

        log p(D_i | D_-i) = -log E[1 / p(D_i | theta)],   theta ~ p(theta | D)

    by importance weights 1 / p(D_i | theta) whose tail is smoothed (Vehtari, Gelman & Gabry 2017;
    Vehtari et al. 2024). Where these are not to be trusted (Pareto k above 0.5, or less of few
    draws), draws are moved to the mean, the variances or the covariance that they ask for, and
    weighed anew (Paananen, Piironen, Buerkner & Vehtari 2021). Of each task all datapoints are left
    out together, with phi integrated out: it is the score of a new task, not of a new datapoint of
    a known one.

    Where the model weighs datapoints (`poutine.scale`), a task is taken out with its weights, as it
    was put in, and its score is without, as that of `Posterior.log_score` (docs/outcomes.md).

    Tasks that theta has never seen, as after `adapt`, are not taken out of it: their score is
    log E[p(D_i | theta)], and a note says so.

    Of thousands of tasks a subsample is enough: all are scored by 16 draws of theta, some by all
    draws as above, and what that changed is taken for all (Magnusson, Andersen, Jonasson &
    Vehtari 2020). `total`, `error` and `subsampling_error` are then those of all tasks.

    Args:
        posterior: a fit with draws of theta.
        refit: the theta strategy by which to fit anew without a task whose weights are not to be
            trusted after that; None leaves them, and says which they are.
        phi: how phi is integrated out; None is in closed form where there is one, and else by
            Laplace's method with importance weights.
        subsample: how many tasks to leave out, drawn without replacement of those with datapoints;
            None is all.
        seed: of which they are: at the same one, posteriors of the same tasks look at the same.
        progress: whether to show progress bars over such tasks.

    Raises:
        StructureError: where theta is a point, or the model has no phi.
        TypeError, ValueError: where `subsample` is no whole number from 2 to the number of tasks
            with datapoints, or `seed` is none.
        TasksError: where the posterior holds no data, as one that was loaded, or tasks with a
            query, or where theta has seen a task in part, or may have seen it.
    """
    check_subsample("leave_one_task_out", subsample, seed)
    seen = tasks_seen(posterior)
    check_left_out(posterior, seen)
    tasks, density = posterior.tasks, posterior.draws.centred
    which = None if subsample is None else drawn(tasks, subsample, seed)
    strategy = phi if phi is not None else integral(density, tasks, "leave_one_task_out")
    found = WithoutATask.of(posterior, strategy, seen, which)
    for i in tqdm(_bad(found), "moments", disable=not progress):
        found.match(i, _GOOD)
    if refit is not None:
        for i in tqdm(_bad(found), "refits", disable=not progress):
            found.refit(i, refit)
    scores = replace(_scores(found), notes=notes_on(tasks, seen))
    return scores if which is None else _beside_all(scores, found, seen)


def _bad(found: WithoutATask) -> list[int]:
    """Which tasks were left out by weights that are not to be trusted."""
    doubtful = set(_scores(found).doubtful)
    return [i for i, name in enumerate(found.tasks.names) if name in doubtful and found.seen[i]]


def _scores(found: WithoutATask) -> TaskScores:
    """What is known of the tasks that were looked at, as a table."""
    import pandas as pd

    tasks, (influence, moves) = found.tasks, found.most
    columns = {
        "datapoints": tasks.sizes.cpu().numpy(),
        "log_score": found.log_score.cpu().numpy(),
        "left_out": found.seen.numpy(),
        "pareto_k": found.k.numpy(),
        "how": found.how,
        "refitted": [how == "refit" for how in found.how],
        "influence": influence,
        "moves": moves,
    }
    table = pd.DataFrame(columns, pd.Index(tasks.names, name="task"))
    return TaskScores(table, 1 if found.posterior.is_point else len(found.theta))


def _beside_all(scores: TaskScores, found: WithoutATask, seen: Tensor) -> TaskScores:
    """The scores of a subsample with approximations of its tasks, and of all tasks."""
    import pandas as pd

    few, all_tasks = found.tasks, found.posterior.tasks
    theta = found.posterior.fit.theta
    own, every = (
        approximated(found.plain, found.phi, theta, tasks, known).double().cpu().numpy()
        for tasks, known in ((few, found.seen), (all_tasks, seen))
    )
    full = all_tasks.sizes.cpu().numpy() > 0
    approximations = pd.Series(every, pd.Index(all_tasks.names, name="task"))[full]
    table = scores.table.assign(approximation=own)
    return replace(scores, table=table, approximations=approximations)
