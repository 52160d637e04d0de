"""The phi that simulated tasks were drawn from, in columns of x with the sites' names."""

from __future__ import annotations

from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density


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
