"""The phi that simulated tasks were drawn from, in columns of x with the sites' names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.supports import within
from bayesmeta.model.checks import StructureError, distribution_name
from bayesmeta.model.density import Density
from bayesmeta.running.isolation import isolated


def simulated_phi(density: Density, tasks: Tasks) -> Tensor:
    """phi that the tasks were simulated from, unconstrained, (tasks, d_phi).

    Raises:
        StructureError: where a site has no such column, or the model has theta, whose prior for phi
            would change as it is trained.
    """
    sites = density.structure.phi
    missing = [name for name in sites if name not in tasks.x]
    if density.d_theta or missing:
        about = f"has theta ({', '.join(density.structure.theta)})"
        if missing:
            about = f"has phi whose truth is in no column of x: {', '.join(missing)}"
        raise StructureError(
            "bound=bm.Simulated() learns from simulated tasks whose phi is known, under a prior "
            f"that is known too, but the model {about}; give each site of phi a column of its "
            "name, (tasks, 1, ...), in a model without theta, or take bound=bm.ELBO()"
        )
    return density.unconstrain({name: tasks.x[name].squeeze(1) for name in sites}, tasks)[1]


def check_simulated(density: Density, tasks: Tasks) -> None:
    """Refuse a truth that the prior cannot have drawn, as of other units or another prior.

    Raises:
        StructureError: naming site, task and value.
    """
    simulated_phi(density, tasks)

    def given(name: str, fn: Any) -> Tensor:
        value = density.segments[name].unpublish(tasks.x[name].squeeze(1))
        inside = density.segments[name].publish(within(fn, value)).reshape(len(tasks), -1).all(1)
        if not inside.all():
            bad = int((~inside).nonzero()[0])
            truth = tasks.x[name][bad].flatten().tolist()
            raise StructureError(
                f"bound=bm.Simulated() got x['{name}'] = {truth} as the truth of task "
                f"'{tasks.names[bad]}', which is outside of the support of site '{name}' "
                f"({distribution_name(fn)}): draw it from the model's own prior, as by "
                "bm.prior(model, tasks)"
            )
        return value

    with isolated(seed=0), torch.no_grad():
        density.collect(given, tasks)
