"""amortisation_gap: how far one pass of the network, and its refinement, are from the posterior."""

from __future__ import annotations

import math

import pandas as pd
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.phi.base import Phi
from bayesmeta.phi.hmc import HMC
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.posterior.refine import Refine, check_refinable
from bayesmeta.task_level.importance import pareto_k

_REFINE = Refine(candidates=1, rerun=None)


def amortisation_gap(
    posterior: Posterior, tasks: Tasks, *, refine: Refine = _REFINE, exact: Phi | None = None
) -> pd.DataFrame:
    """The network, the network refined, and the posterior itself, task by task.

    What the network loses to what its family could do for a task is the amortisation gap, and what
    the family loses is the approximation gap (Cremer, Li & Duvenaud 2018):

        log p(D_i) - elbo(network) = [log p(D_i) - elbo(refined)] + [elbo(refined) - elbo(network)]

    Args:
        posterior: a fit with phi=bm.Amortised(), of any theta.
        tasks: some tens of them, seen or not.
        refine: how to refine.
        exact: what stands for the posterior; None is bm.HMC().

    Returns:
        a table by task and way ("network", "refined", "exact"). Its columns are

            mean_error: of the mean of phi from the exact one, in exact sds, root mean square over
                the coordinates of unconstrained phi;
            sd_ratio: to the exact sd, geometric mean over them;
            elbo: in nats, the mean over theta; for "exact" log p(D_i | theta) by importance
                weights, where theta is a point, and else NaN;
            pareto_k: of the importance weights; minus infinity for "exact", which has none.

        `table.groupby("way").mean()` sums up.

    Raises:
        TypeError: where phi is not amortised, or has no density.
    """
    check_refinable(refine, posterior.strategy)
    ways = {
        "network": posterior.adapt(tasks, refine=Refine(steps=0, candidates=1, rerun=None)),
        "refined": posterior.adapt(tasks, refine=refine),
        "exact": posterior.adapt(tasks, phi=exact or HMC()),
    }
    truth = ways["exact"].free_phi.flatten(0, 1)
    weights = {name: post.log_weights for name, post in ways.items()}
    rows = []
    for name, post in ways.items():
        found = post.free_phi.flatten(0, 1)
        error = ((found.mean(0) - truth.mean(0)) / truth.std(0)).square().mean(-1).sqrt()
        ratio = (found.std(0) / truth.std(0)).log().mean(-1).exp()
        given = weights[name]
        if given is None:
            elbo = _log_evidence(weights["refined"], posterior.is_point)
            k = torch.full_like(error, -torch.inf)
        else:
            elbo, k = given.flatten(0, 1).mean(0), pareto_k(given.flatten(0, 1))
        columns = (error.tolist(), ratio.tolist(), elbo.tolist(), k.tolist())
        rows += [(t, name, *c) for t, *c in zip(tasks.names, *columns, strict=True)]
    names = ["task", "way", "mean_error", "sd_ratio", "elbo", "pareto_k"]
    return pd.DataFrame(rows, columns=names).set_index(["task", "way"])


def _log_evidence(weights: Tensor | None, is_point: bool) -> Tensor:
    """log p(D_i | theta) of a single theta, (tasks,)."""
    assert weights is not None
    flat = weights.flatten(0, 1)
    found = torch.logsumexp(flat, 0) - math.log(len(flat))
    return found if is_point else torch.full_like(found, torch.nan)
