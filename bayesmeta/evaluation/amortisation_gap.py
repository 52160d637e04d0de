"""amortisation_gap: how far one pass of the network, and its refinement, are from the posterior."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.evidence import evidence, integral
from bayesmeta.draws.refine import Refine, check_refinable
from bayesmeta.evaluation.seen import quoted
from bayesmeta.phi.base import Phi
from bayesmeta.phi.exact import Exact
from bayesmeta.phi.hmc import HMC
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.isolation import undisturbed
from bayesmeta.task_level.importance import TRUSTED_K, pareto_k

if TYPE_CHECKING:
    import pandas as pd

_REFINE = Refine(candidates=1, rerun=None)


@undisturbed()
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
            elbo: in nats, the mean over theta; for "exact" log p(D_i | theta), where theta is a
                point, in closed form where there is one, and else by importance weights;
            pareto_k: of the importance weights.

        `table.groupby("way").mean()` sums up. What there is no number for is NaN, and a warning
        says why: draws that `refine` made anew, as by HMC, are of no q, which would have a bound
        and weights, and weights whose Pareto k is above 0.7 tell no log p(D_i | theta).

    Raises:
        TypeError: where phi is not amortised, or has no density.
    """
    import pandas as pd

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
        elbo, k = _bound(weights[name], len(tasks))
        if name == "exact":
            elbo = _log_evidence(posterior, tasks, weights["refined"])
        columns = (error.tolist(), ratio.tolist(), elbo.tolist(), k.tolist())
        rows += [(t, name, *c) for t, *c in zip(tasks.names, *columns, strict=True)]
    names = ["task", "way", "mean_error", "sd_ratio", "elbo", "pareto_k"]
    table = pd.DataFrame(rows, columns=names).set_index(["task", "way"])
    _tell(table, refine, posterior.is_point)
    return table


def _bound(given: Tensor | None, num_tasks: int) -> tuple[Tensor, Tensor]:
    """The bound and Pareto's k of each task, (tasks,); NaN of draws that are of no q.

    Those of `refined` that were made anew have log weights that are all zero.
    """
    if given is None:
        none = torch.full((num_tasks,), torch.nan, dtype=torch.float64)
        return none, none
    flat = given.flatten(0, 1).double()
    anew = ((flat == 0) | flat.isnan()).all(0)
    bound, k = flat.mean(0), pareto_k(flat).to(flat)
    return bound.masked_fill(anew, torch.nan), k.masked_fill(anew, torch.nan)


def _log_evidence(posterior: Posterior, tasks: Tasks, weights: Tensor | None) -> Tensor:
    """log p(D_i | theta) of a single theta, (tasks,), NaN where it is not known."""
    unknown = torch.full((len(tasks),), torch.nan, dtype=torch.float64)
    if not posterior.is_point:
        return unknown
    density, tasks = posterior.draws.centred, tasks.to(dtype=posterior.tasks.dtype)
    strategy = integral(density, tasks, "amortisation_gap")
    if isinstance(strategy, Exact):
        return evidence(density, strategy, posterior.fit.theta[0, :1], tasks)[0]
    if weights is None:
        return unknown
    flat = weights.flatten(0, 1).double()
    found = torch.logsumexp(flat, 0) - math.log(len(flat))
    trusted = _bound(weights, len(tasks))[1] <= TRUSTED_K
    return torch.where(trusted.to(found.device), found, torch.nan)


def _tell(table: pd.DataFrame, refine: Refine, is_point: bool) -> None:
    """Say for which tasks there is no bound, and no evidence."""
    missing = table["elbo"].isna().unstack("way", sort=False)
    anew = [str(name) for name in missing.index[missing["refined"]]]
    if anew:
        warnings.warn(
            f"{len(anew)} of {len(missing)} tasks ({quoted(anew)}) were run again by phi=bm."
            f"{refine.rerun!r}: their draws have no bound and no weights, and NaN for them",
            stacklevel=3,
        )
    unknown = [str(name) for name in missing.index[missing["exact"] & is_point]]
    if unknown:
        warnings.warn(
            f"log p(D_i | theta) of {quoted(unknown)} is not known, and NaN: it has no closed "
            f"form here, and importance weights have a Pareto k above {TRUSTED_K}, or there are "
            "none; more steps of refine= may help",
            stacklevel=3,
        )
