"""Whether the outcomes are possible at all draws: where supports have edges that are drawn."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import at_draws, in_chunks, joined
from bayesmeta.draws.draws import Draws
from bayesmeta.model.checks import first_few


def about_supports(posterior: Draws) -> list[str]:
    """What is wrong with draws at which outcomes have a density of zero, and what they tell of it.

    It costs nothing where supports are fixed.
    """
    bounded = posterior.density.reading.bounded
    if not bounded:
        return []
    sites = "; ".join(
        f"the support of site '{site}' has an edge at '{', '.join(names)}'"
        for site, names in bounded.items()
    )
    found = _impossible(posterior)
    if found:
        return [
            f"At some draws the outcomes are impossible: {first_few(found)}; {sites}. Such draws "
            "are no part of the posterior: fit with theta=bm.NUTS() and phi=bm.Joint(), or infer "
            "phi with bm.HMC()."
        ]
    diverging = posterior.fit.stats.get("diverging")
    if diverging is not None and bool(diverging.any()):
        return [
            f"A transition that would cross an edge counts as diverged ({sites}): that alone does "
            "not bias the draws, but it leaves few effective ones; run longer."
        ]
    return []


def _impossible(posterior: Draws) -> list[str]:
    """The tasks, with the share of draws at which their outcomes have no density."""

    def finite(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor]:
        # Not a number is no density either.
        return (posterior.density.log_likelihood(theta, phi, tasks) > -torch.inf,)

    draws = posterior.fit.theta, posterior.free_phi, posterior.tasks
    possible = joined([fits for (fits,) in in_chunks(at_draws, finite, *draws)])
    shares = 1 - possible.flatten(0, 1).double().mean(0)
    return [
        f"task '{name}' ({share:.1%})"
        for name, share in zip(posterior.tasks.names, shares.tolist(), strict=True)
        if share > 0
    ]
