"""log p(D_i | theta) at draws of theta, with phi integrated out as well as the model lets it."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.capturing.repeats import without_repeats
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.phi import Exact, Laplace, Phi
from bayesmeta.running.isolation import isolated

_MOST_DRAWS, _PARTICLES, _CELLS_AT_ONCE = 2000, 16, 500_000


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
    """log p(D_i | theta) at each draw of theta (draws, d_theta), (draws, tasks)."""
    data = tasks.tensors()

    def at(point: Tensor, *given: Tensor) -> tuple[Tensor]:
        return (phi.log_evidence(density, point, tasks.with_tensors(given)),)

    with isolated(seed=0), torch.no_grad():
        graph = without_repeats(capture(at, [theta[0], *data]))
        width = density.width(tasks)
        cells = tasks.num_tasks * (tasks.num_data * (1 + width) + width**2)
        return over_draws(graph, [theta], data, max(1, _CELLS_AT_ONCE // max(1, cells)))[0]
