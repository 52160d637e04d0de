"""leave_one_task_out: how well theta, learned from all other tasks, predicts each task whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bayesmeta.draws.evidence import integral
from bayesmeta.influence.left_out import check_left_out, notes_on, tasks_seen
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
        table: by task: "datapoints"; "log_score", log p(D_i | D_-i); "left_out", whether theta had
            seen the task, which was taken out; "pareto_k" of the weights by which that was done, or
            of those that the task would give to draws of theta; "how" it was done, by "weights", by
            "moments" or by a "refit"; "refitted"; "influence", by how many sds the mean of theta
            moves without the task, of the number that it "moves" most, unconstrained. Tasks without
            datapoints, and a point, have no weights, and NaN.
        draws: so many of theta were used; 1 of a point.
        notes: sentences on tasks that were not left out.
    """

    table: pd.DataFrame
    draws: int
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """The sum over tasks, the larger the better."""
        return float(self.table["log_score"].sum())

    @property
    def error(self) -> float:
        """Its standard error, as of a sum over tasks drawn from a population of them."""
        scores = self.table["log_score"][self.table["datapoints"] > 0]
        return float(np.sqrt(len(scores)) * scores.std())

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
        lines = [
            f"log score of {len(self.table)} tasks, {how}: {self.total:.1f} +- {self.error:.1f} "
            f"nats; {moved} of them by draws that were moved, {count} by a fit without the task",
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

    Args:
        posterior: a fit with draws of theta.
        refit: the theta strategy by which to fit anew without a task whose weights are not to be
            trusted after that; None leaves them, and says which they are.
        phi: how phi is integrated out; None is in closed form where there is one, and else by
            Laplace's method with importance weights.
        progress: whether to show progress bars over such tasks.

    Raises:
        StructureError: where theta is a point, or the model has no phi.
        TasksError: where the posterior holds no data, as one that was loaded, or tasks with a
            query, or where theta has seen a task in part, or may have seen it.
    """
    seen = tasks_seen(posterior)
    check_left_out(posterior, seen)
    tasks, density = posterior.tasks, posterior.draws.centred
    strategy = phi if phi is not None else integral(density, tasks, "leave_one_task_out")
    found = WithoutATask.of(posterior, strategy, seen)
    scores = _scores(found)
    for i in tqdm(_bad(scores, found), "moments", disable=not progress):
        found.match(i, _GOOD)
    scores = _scores(found)
    if refit is not None:
        for i in tqdm(_bad(scores, found), "refits", disable=not progress):
            found.refit(i, refit)
    return _scores(found)


def _bad(scores: TaskScores, found: WithoutATask) -> list[int]:
    """Which tasks were left out by weights that are not to be trusted."""
    doubtful = set(scores.doubtful)
    names = found.posterior.tasks.names
    return [i for i, name in enumerate(names) if name in doubtful and found.seen[i]]


def _scores(found: WithoutATask) -> TaskScores:
    """What is known of all tasks, as a table."""
    import pandas as pd

    tasks, (influence, moves) = found.posterior.tasks, found.most
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
    draws = 1 if found.posterior.is_point else len(found.theta)
    return TaskScores(table, draws, notes_on(tasks, found.seen))
