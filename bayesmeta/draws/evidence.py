"""log p(D_i | theta) at draws of theta, with phi integrated out as well as the model lets it."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.capturing.capture import over_draws
from bayesmeta.capturing.kept import captured
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.phi import Exact, Laplace, Phi
from bayesmeta.running.isolation import isolated

_MOST_DRAWS, _PARTICLES, _CELLS_AT_ONCE = 2000, 16, 200_000
# Draws at which few datapoints are held against all.
_TRIED = 4
_SAME = 1e-6


def integral(density: Density, tasks: Tasks, asked_by: str) -> Phi:
    """How phi is integrated out: in closed form, or else by weights around Laplace's normal.

    Args:
        density, tasks: whose phi it is.
        asked_by: what needs it, for the error.

    Raises:
        StructureError: where there is no phi, or it cannot be.
    """
    density.structure.check_treatable(asked_by, needs_phi=True)
    exact, laplace = Exact(), Laplace(particles=_PARTICLES)
    with isolated(seed=0):
        try:
            exact.check(density, tasks.sample())
        except StructureError:
            laplace.check(density, tasks.sample())
            return laplace
    return exact


def some_evenly(theta: Tensor) -> Tensor:
    """At most 2,000 draws of theta (chain, draw, d_theta), evenly apart, as one chain of them."""
    draws = theta.flatten(0, 1)
    return draws[places_evenly(len(draws))]


def places_evenly(count: int) -> Tensor:
    """At most 2,000 places of so many draws, evenly apart."""
    return torch.linspace(0, count - 1, min(count, _MOST_DRAWS)).long()


def evidence(density: Density, phi: Phi, theta: Tensor, tasks: Tasks) -> Tensor:
    """log p(D_i | theta) at each draw of theta (draws, d_theta), (draws, tasks).

    By few datapoints of each task where they say all, and are seen to at some of the draws.
    """
    with isolated(seed=0), torch.no_grad():
        short = phi.shortened(density, tasks)
        if short is not None:
            less, by, few = short
            found = _at_all(less, by, theta, few)
            some = torch.linspace(0, len(theta) - 1, _TRIED).long()
            whole = _at_all(density, phi, theta[some], tasks)
            if torch.allclose(found[some], whole, rtol=0.01 * _SAME, atol=_SAME):
                return found
        return _at_all(density, phi, theta, tasks)


def _at_all(density: Density, phi: Phi, theta: Tensor, tasks: Tasks) -> Tensor:
    data, width = tasks.tensors(), density.width(tasks)

    def at(point: Tensor, *given: Tensor) -> tuple[Tensor]:
        return (phi.log_evidence(density, point, tasks.with_tensors(given)),)

    kind = "evidence", phi
    graph = captured(density, kind, [tasks], at, [theta[0], *data], is_last=True)
    cells = tasks.num_tasks * (tasks.num_data * (1 + width) + width**2)
    return over_draws(graph, [theta], data, max(1, _CELLS_AT_ONCE // max(1, cells)))[0]
