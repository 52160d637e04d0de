"""Exact: phi integrated out in closed form, where phi_i and its data are linear-Gaussian."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior, draw_prior_phi, prior_mean
from bayesmeta.model.structure import Role
from bayesmeta.phi.integrated import Integrated
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.curvature import bend, parts_of

_TOLERANCE = 1e-7
# Draws of theta, of those that were found, at which it is looked again.
_PLACES = 3


@dataclass(frozen=True)
class Exact(Integrated):
    """The closed form, where p(phi_i | D_i, theta) is Gaussian.

    It is exactly when the curvature of log p(D_i, phi | theta) does not depend on phi, which is how
    a model is recognised, at draws from the prior, and again where inference led to: nothing is
    read off its text. Hierarchical linear regression, ALPaCA
    (Harrison, Sharma & Pavone 2018) and ridge heads as R2-D2 (Bertinetto et al. 2019) are such.
    """

    # Gauss-Newton is the Hessian here, and quicker where there are fewer data than coordinates.
    most_dense: ClassVar[int] = 8

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse a model whose phi given theta and data is not Gaussian.

        Raises:
            StructureError: naming the task at which the curvature of log p(D_i, phi_i | theta)
                changes with phi_i.
        """
        super().check(density, tasks)
        _check_no_mixture(density)
        curvature = self.chosen(density, tasks)
        tasks = tasks.to(dtype=torch.float64)
        for given in parts_of(tasks, with_query=True):
            with isolated(seed=0):
                (theta, one), (_, other) = draw_prior(density, given), draw_prior(density, given)
                probe = torch.randn_like(one)
            first, second = _bends(density, theta, (one, other), given, probe)
            # Gauss-Newton leaves out what is zero in a model that is linear in phi.
            found = curvature.expand(density, theta, one, [given], jacobian=True).precision
            back, _ = found.solve(first)
            _check_change(
                torch.maximum(_distance(first, second), _distance(probe, back)),
                given,
                first,
                second,
            )

    def check_found(self, density: Density, tasks: Tasks, theta: Tensor) -> None:
        """The same of phi at draws of theta that were found: of phi's posterior, and its prior.

        Raises:
            StructureError: as `check`.
        """
        if not density.d_phi:
            return
        tasks, theta = tasks.sample().to(dtype=torch.float64), theta.double()
        chosen = torch.linspace(0, len(theta) - 1, _PLACES).long().unique()
        for at in theta[:1] if bool((theta == theta[:1]).all()) else theta[chosen]:
            # Where a scale has gone to 0 there is no phi to look at, which its doubts tell.
            with isolated(seed=0), torch.no_grad(), suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
                generator = torch.Generator().manual_seed(0)
                (phi,) = self.infer(density, at[None], tasks, generator, is_point=False)
                other, probe = draw_prior_phi(density, at, tasks), torch.randn_like(phi)
                for given in parts_of(tasks, with_query=True):
                    first, second = _bends(density, at, (phi, other), given, probe)
                    change = _distance(first, second).nan_to_num(0.0)
                    _check_change(change, given, first, second)

    def point(self, density: Density, theta: Tensor, tasks: Tasks, *, with_query: bool) -> Tensor:
        """Any point will do; the prior mean is near."""
        return prior_mean(density, theta, tasks).detach()


def _bends(
    density: Density,
    theta: Tensor,
    places: tuple[Tensor, Tensor],
    tasks: Tasks,
    probe: Tensor,
) -> tuple[Tensor, Tensor]:
    """Curvature times a vector at two phi, each (tasks, d_phi)."""
    one, other = (bend(density, theta, at, [tasks], probe, jacobian=True) for at in places)
    return one, other


def _check_change(change: Tensor, tasks: Tasks, first: Tensor, second: Tensor) -> None:
    if (change < _TOLERANCE).all():
        return
    worst = int(change.nan_to_num(torch.inf).argmax())
    bends = torch.cat([first, second], -1)[worst]
    raise StructureError(
        "phi=bm.Exact() needs phi to be Gaussian given theta and the data, but the curvature of "
        f"log p(D_i, phi_i | theta) {_fault(change[worst], bends)} at task "
        f"'{tasks.names[worst]}'; use phi=bm.Laplace() or phi=bm.Joint(), or make the phi sites "
        "and the outcome normal, with a mean linear in phi"
    )


def _check_no_mixture(density: Density) -> None:
    """A mixture bends alike around each of its modes, so that curvature at draws may miss it."""
    if density.structure.discrete:
        raise StructureError(
            "phi=bm.Exact() needs phi to be Gaussian given theta and the data, but the discrete "
            f"{', '.join(density.structure.discrete)} makes a mixture of it; use phi=bm.HMC(), "
            "phi=bm.Laplace() or bm.Joint()"
        )
    for node in density.structure.nodes.values():
        if node.role in (Role.PHI, Role.DATA) and "Mixture" in node.distribution:
            raise StructureError(
                f"phi=bm.Exact() needs phi to be Gaussian given theta and the data, but site "
                f"'{node.name}' is a mixture; use phi=bm.HMC(), phi=bm.Laplace() or bm.Joint()"
            )


def _fault(change: Tensor, bends: Tensor) -> str:
    """What is wrong with the curvature, by its change and its products with a vector."""
    if change.isfinite():
        return f"changes by {change:.1%} from one phi to another"
    return "is not positive definite" if bends.isfinite().all() else "is not finite"


def _distance(one: Tensor, other: Tensor) -> Tensor:
    """The largest difference beside the largest number, (tasks,)."""
    return (one - other).abs().amax(-1) / one.abs().amax(-1)
