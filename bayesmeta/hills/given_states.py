"""The density of phi_i and of a value of its task's discrete latents, each value a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.running.isolation import isolated
from bayesmeta.running.sites import Site
from bayesmeta.task_level.particles import copies

# A column of joint values; no model has such a name.
_STATE = "discrete state"


class GivenStates(Density):
    """log p(phi_i, z_i | theta) and log p(D_i | phi_i, z_i, theta), z_i a joint value of discretes.

    Tasks have z_i in a column of their own, which the model does not see. Summed over values,

        log p(D_i, phi_i | theta) = log sum_z p(D_i, phi_i, z | theta),

    it is the density that it was made of; given one of them phi_i has a single hill wherever it has
    one without discrete latents. Those of datapoints are summed out here too.

    Args:
        density: of a model with discrete latents of tasks.
    """

    def __init__(self, density: Density) -> None:
        super().__init__(density.reading, density.noncentred, density.start)

    def sites(
        self, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool, priors: bool = True
    ) -> dict[str, Site]:
        """The sites of the model at unconstrained theta and phi, with the values of the column."""
        bare, state = _split(tasks)
        both = torch.cat([phi, state.to(phi.dtype)], 1)
        return super().sites(theta, both, bare, jacobian=jacobian, priors=priors)

    def collect(
        self,
        value_of: Callable[[str, Any], Tensor],
        tasks: Tasks,
        drawn: dict[str, Tensor] | None = None,
        joint: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As the density's, at the values of the column."""
        bare, state = _split(tasks)
        return super().collect(value_of, bare, drawn, state)


def by_states(density: Density, tasks: Tasks) -> tuple[GivenStates, Tasks] | None:
    """The density at given values, and the tasks once for each joint value, one after the other.

    None where phi is of no numbers, or tasks have no discrete latents: it is the density as it is.

    Args:
        density: the model's.
        tasks: I of them; there are S I rows, of which row s I + i is task i at value s.
    """
    count = states_of(density)
    if count < 2 or not density.width(tasks) or isinstance(density, GivenStates):
        return None
    if "given states" not in density.solvers:
        density.solvers["given states"] = GivenStates(density)
    given: GivenStates = density.solvers["given states"]
    state = torch.arange(count, device=tasks.device).repeat_interleave(tasks.num_tasks)[:, None]
    rows = copies(tasks, count)
    return given, replace(rows, x={**rows.x, _STATE: state})


def states_of(density: Density) -> int:
    """How many joint values the discrete latents of a task have; 1 without any."""
    summed = density.reading.summed
    return 1 if summed is None else summed.sizes[0]


def check_rows(density: Density, tasks: Tasks) -> None:
    """Refuse a model that does not run on tasks that stand there once for each value.

    Raises:
        StructureError: with what went wrong, and what to do.
    """
    found = by_states(density, tasks)
    if found is None:
        return
    given, rows = found
    theta = torch.zeros(density.d_theta, dtype=tasks.dtype, device=tasks.device)
    try:
        with isolated(seed=0), torch.no_grad():
            given.terms(theta, theta.new_zeros(len(rows), density.width(rows)), rows)
    except (RuntimeError, IndexError) as error:
        names = ", ".join(density.structure.discrete)
        raise StructureError(
            f"phi given each of the {states_of(density)} values of the discrete {names} is treated "
            f"by a run of the model on {len(rows)} tasks side by side, each of the {len(tasks)} "
            f"tasks once for each value, which failed ({error}); let the model read what belongs "
            "to a task from tasks.x, or sample with theta=bm.NUTS(), phi=bm.Joint()"
        ) from error


def _split(tasks: Tasks) -> tuple[Tasks, Tensor]:
    """Tasks without the column, and the column, (tasks, 1)."""
    x = {name: column for name, column in tasks.x.items() if name != _STATE}
    return replace(tasks, x=x), tasks.x[_STATE]
