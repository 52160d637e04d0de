"""log p(D_i | theta) at draws of theta, with phi integrated out as well as the model lets it."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.phi import Exact, Laplace, Phi
from bayesmeta.running.isolation import isolated

_MOST_DRAWS, _PARTICLES = 2000, 16


def integral(density: Density, tasks: Tasks) -> Phi:
    """How phi is integrated out: in closed form, or else by weights around Laplace's normal.

    Raises:
        StructureError: where there is no phi, or it cannot be.
    """
    density.structure.check_treatable("leave_one_task_out", needs_phi=True)
    exact, laplace = Exact(), Laplace(particles=_PARTICLES)
    with isolated(seed=0):
        try:
            exact.check(density, tasks.sample())
        except StructureError:
            laplace.check(density, tasks.sample())
            return laplace
    return exact


def evidence(density: Density, phi: Phi, theta: Tensor, tasks: Tasks) -> Tensor:
    """log p(D_i | theta) at each draw, (draws, tasks); of at most 2,000 draws, evenly apart."""
    draws = theta.flatten(0, 1)
    draws = draws[torch.linspace(0, len(draws) - 1, min(len(draws), _MOST_DRAWS)).long()]
    data = tasks.tensors()

    def at(point: Tensor, *given: Tensor) -> tuple[Tensor]:
        return (phi.log_evidence(density, point, tasks.with_tensors(given)),)

    with isolated(seed=0), torch.no_grad():
        graph = capture(at, [draws[0], *data])
        return torch.stack([graph(point, *data)[0] for point in draws])
