"""leave_one_task_out: how well theta, learned from all other tasks, predicts each task whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.draws.evidence import evidence, integral, some_evenly
from bayesmeta.evaluation.left_out import check_left_out, notes_on, tasks_seen
from bayesmeta.evaluation.same_rows import same_rows
from bayesmeta.fit import fit
from bayesmeta.phi import Phi
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.isolation import undisturbed
from bayesmeta.task_level.importance import TRUSTED_K, smoothed
from bayesmeta.theta import Theta

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TaskScores:
    """Log scores of tasks that theta has not seen, or that were left out of it, in nats.

    Attributes:
        table: by task: "datapoints"; "log_score", log p(D_i | D_-i); "left_out", whether theta had
            seen the task, which was taken out; "pareto_k" of the weights by which that was done, or
            of those that the task would give to draws of theta; "refitted". Tasks without
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
        """The largest Pareto k at which so many draws do (Vehtari et al. 2024), 0.7 at most."""
        return min(TRUSTED_K, 1 - 1 / float(np.log10(max(self.draws, 2))))

    @property
    def doubtful(self) -> list[str]:
        """Tasks whose weights are not to be trusted, and that were not refitted."""
        if self.draws == 1:
            return []
        good = self.table["refitted"] | (self.table["pareto_k"] <= self.trusted_k)
        return [str(name) for name in self.table.index[~good & (self.table["datapoints"] > 0)]]

    def __str__(self) -> str:
        count, out = (int(self.table[name].sum()) for name in ("refitted", "left_out"))
        how = "each left out in turn" if out == len(self.table) else f"{out} of them left out"
        lines = [
            f"log score of {len(self.table)} tasks, {how}: {self.total:.1f} +- {self.error:.1f} "
            f"nats; {count} of them by a fit without the task",
            *self.notes,
        ]
        if self.doubtful:
            few = self.trusted_k < TRUSTED_K - 0.1
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
    Vehtari et al. 2024). Of each task all datapoints are left out together, with phi integrated
    out: it is the score of a new task, not of a new datapoint of a known one.

    Tasks that theta has never seen, as after `adapt`, are not taken out of it: their score is
    log E[p(D_i | theta)], and a note says so.

    Args:
        posterior: a fit with draws of theta.
        refit: the theta strategy by which to fit anew without a task whose weights are not to be
            trusted (Pareto k above 0.7, or less of few draws); None leaves them, and says which
            they are.
        phi: how phi is integrated out; None is in closed form where there is one, and else by
            Laplace's method with importance weights.
        progress: whether to show a progress bar over refits.

    Raises:
        StructureError: where theta is a point, or the model has no phi.
        TasksError: where the posterior holds no data, as one that was loaded, or tasks with a
            query, or where theta has seen a task in part, or may have seen it.
    """
    import pandas as pd

    seen = tasks_seen(posterior)
    check_left_out(posterior, seen)
    tasks, density = posterior.tasks, posterior.draws.centred
    strategy = phi if phi is not None else integral(density, tasks, "leave_one_task_out")
    log_p = evidence(density, strategy, some_evenly(posterior.fit.theta), tasks)
    scores, k = _scores(log_p, seen, (tasks.sizes.cpu() > 0) & (not posterior.is_point))
    refitted = np.zeros(len(tasks), dtype=bool)
    draws, notes = 1 if posterior.is_point else len(log_p), notes_on(tasks, seen)

    def found() -> TaskScores:
        columns = {
            "datapoints": tasks.sizes.cpu().numpy(),
            "log_score": scores.numpy(),
            "left_out": seen.numpy(),
            "pareto_k": k.numpy(),
            "refitted": refitted,
        }
        return TaskScores(pd.DataFrame(columns, pd.Index(tasks.names, name="task")), draws, notes)

    doubtful = found().doubtful if refit is not None else []
    for i in tqdm([tasks.names.index(n) for n in doubtful], "refits", disable=not progress):
        if seen[i]:
            scores[i], refitted[i] = _without(posterior, i, refit, strategy), True
    return found()


def _scores(log_p: Tensor, seen: Tensor, weighted: Tensor) -> tuple[Tensor, Tensor]:
    """The log scores of tasks, and Pareto's k of their weights; (tasks,).

    Args:
        log_p: log p(D_i | theta) at each draw, (draws, tasks).
        seen: which are taken out of theta, (tasks,).
        weighted: which give weights to draws of theta, that are not all alike, (tasks,).
    """
    # Of those that are not, the mean over draws as they are.
    scores = torch.logsumexp(log_p, 0) - np.log(len(log_p))
    k = torch.full(scores.shape, torch.nan, dtype=torch.float64)
    if (new := ~seen & weighted).any():
        k[new] = smoothed(log_p[:, new])[1]
    if seen.any():
        log_weights, k[seen] = smoothed(-log_p[:, seen])
        scores[seen] = torch.logsumexp(log_weights + log_p[:, seen], 0).to(scores)
    return scores, k


def _without(posterior: Posterior, i: int, theta: Theta | None, phi: Phi) -> float:
    """log p(D_i | D_-i) by a fit to the other tasks."""
    learned = posterior.fit.learned_from
    assert learned is not None and learned.tasks is not None
    alone = posterior.tasks.select(torch.tensor([i]))
    others = ~same_rows(learned.tasks, alone).any(1)
    rest = learned.tasks.select(others.nonzero()[:, 0])
    model = posterior.density.model
    other = fit(
        model, rest, theta=theta, phi=posterior.strategy, seed=posterior.seed + i, progress=False
    )
    log_p = evidence(other.draws.centred, phi, some_evenly(other.fit.theta), alone)[:, 0]
    return float(torch.logsumexp(log_p, 0) - np.log(len(log_p)))
