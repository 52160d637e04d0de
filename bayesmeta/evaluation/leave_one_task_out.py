"""leave_one_task_out: how well theta, learned from all other tasks, predicts each task whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.capture import capture
from bayesmeta.fit import fit
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.isolation import isolated, undisturbed
from bayesmeta.phi import Exact, Laplace, Phi
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.task_level.importance import TRUSTED_K, smoothed
from bayesmeta.theta import Theta

_MOST_DRAWS, _PARTICLES = 2000, 16


@dataclass(frozen=True)
class TaskScores:
    """Log scores of tasks that were left out, in nats.

    Attributes:
        table: by task: "log_score", log p(D_i | D_-i); "pareto_k" of the weights; "refitted".
    """

    table: pd.DataFrame

    @property
    def total(self) -> float:
        """The sum over tasks, the larger the better."""
        return float(self.table["log_score"].sum())

    @property
    def error(self) -> float:
        """Its standard error, as of a sum over tasks drawn from a population of them."""
        return float(np.sqrt(len(self.table)) * self.table["log_score"].std())

    @property
    def doubtful(self) -> list[str]:
        """Tasks whose weights are not to be trusted (Pareto k above 0.7) and were not refitted."""
        found = self.table[(self.table["pareto_k"] > TRUSTED_K) & ~self.table["refitted"]]
        return [str(name) for name in found.index]

    def __str__(self) -> str:
        count = int(self.table["refitted"].sum())
        lines = [
            f"log score of {len(self.table)} tasks, each left out in turn: {self.total:.1f} +- "
            f"{self.error:.1f} nats; {count} of them by a fit without the task"
        ]
        if self.doubtful:
            lines.append(
                f"not to be trusted (Pareto k above {TRUSTED_K}): {', '.join(self.doubtful)}; give "
                "refit=bm.NUTS()"
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

    Args:
        posterior: a fit with draws of theta.
        refit: the theta strategy by which to fit anew without a task whose weights are not to be
            trusted (Pareto k above 0.7); None leaves them, and says which they are.
        phi: how phi is integrated out; None is in closed form where there is one, and else by
            Laplace's method with importance weights.
        progress: whether to show a progress bar over refits.

    Raises:
        StructureError: where theta is a point, or the model has no phi.
    """
    if posterior.is_point:
        raise StructureError(
            "theta is a point estimate, which would be the same without a task; fit with "
            "theta=bm.NUTS() or theta=bm.Gaussian()"
        )
    if posterior.density.d_theta == 0:
        raise StructureError(
            "the model has no theta, so that tasks tell nothing of each other and there is nothing "
            "to leave out; bm.cross_validate leaves out datapoints of each task"
        )
    if posterior.tasks.num_tasks < 3:
        raise ValueError(
            f"{posterior.tasks.num_tasks} tasks are too few to leave one out; give at least 3"
        )
    tasks, density = posterior.tasks, posterior.draws.centred
    strategy = phi if phi is not None else _integral(density, tasks)
    log_p = _evidence(density, strategy, posterior.fit.theta, tasks)
    log_weights, k = smoothed(-log_p)
    scores = torch.logsumexp(log_weights + log_p, 0)
    bad = [] if refit is None else (k > TRUSTED_K).nonzero()[:, 0].tolist()
    for i in tqdm(bad, desc="refits", disable=not progress):
        scores[i] = _without(posterior, i, refit, strategy)
    refitted = [i in bad for i in range(len(tasks))]
    columns = {"log_score": scores.numpy(), "pareto_k": k.numpy(), "refitted": refitted}
    return TaskScores(pd.DataFrame(columns, index=pd.Index(tasks.names, name="task")))


def _integral(density: Density, tasks: Tasks) -> Phi:
    """In closed form, or else by importance weights around Laplace's normal."""
    density.structure.check_treatable("leave_one_task_out", needs_phi=True)
    exact, laplace = Exact(), Laplace(particles=_PARTICLES)
    with isolated(seed=0):
        try:
            exact.check(density, tasks.sample())
        except StructureError:
            laplace.check(density, tasks.sample())
            return laplace
    return exact


def _evidence(density: Density, phi: Phi, theta: Tensor, tasks: Tasks) -> Tensor:
    """log p(D_i | theta) at each draw, (draws, tasks); of at most 2,000 draws, evenly apart."""
    draws = theta.flatten(0, 1)
    draws = draws[torch.linspace(0, len(draws) - 1, min(len(draws), _MOST_DRAWS)).long()]
    data = tasks.tensors()

    def evidence(point: Tensor, *given: Tensor) -> tuple[Tensor]:
        return (phi.log_evidence(density, point, tasks.with_tensors(given)),)

    with isolated(seed=0), torch.no_grad():
        graph = capture(evidence, [draws[0], *data])
        return torch.stack([graph(point, *data)[0] for point in draws])


def _without(posterior: Posterior, i: int, theta: Theta | None, phi: Phi) -> float:
    """log p(D_i | D_-i) by a fit to the other tasks."""
    tasks = posterior.tasks
    rest = tasks.select(torch.tensor([k for k in range(len(tasks)) if k != i]))
    model = posterior.density.model
    other = fit(
        model, rest, theta=theta, phi=posterior.strategy, seed=posterior.seed + i, progress=False
    )
    alone = tasks.select(torch.tensor([i]))
    log_p = _evidence(other.draws.centred, phi, other.fit.theta, alone)[:, 0]
    return float(torch.logsumexp(log_p, 0) - np.log(len(log_p)))
