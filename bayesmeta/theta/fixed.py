"""Fixed: theta is known, so that only phi is inferred."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.theta.base import Fit, Theta
from bayesmeta.theta.levels import repeated
from bayesmeta.training.fit_options import FitOptions


@dataclass(frozen=True, eq=False)
class Fixed(Theta):
    """p(phi_i | D_i, theta) at a theta that is given: that of another fit, or of a simulation.

        trained = bm.fit(prototypes(20), episodes, **bm.ProtoNet())
        known = bm.Fixed({name: draws[0, 0] for name, draws in trained.theta.items()})
        post = bm.fit(prototypes(5), new, theta=known, phi=bm.GradientSteps(1, lr=None))

    Another model may use it as well, as long as its shared sites have the same names and shapes.

    Attributes:
        values: one value for each shared site, as `posterior.theta` holds them, without (chain,
            draw).
    """

    values: Mapping[str, Tensor]

    is_point: ClassVar[bool] = True
    infers: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not isinstance(self.values, Mapping):
            raise TypeError(
                f"Fixed got a {type(self.values).__name__}; give {{name: value}}, as "
                "bm.Fixed({n: d[0, 0] for n, d in post.theta.items()})"
            )

    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """Theta as it was given, as one chain: of one draw, or of more where phi has more."""
        if phi.is_joint:
            raise StructureError(
                "theta=bm.Fixed() leaves nothing to treat together with phi, which phi=bm.Joint() "
                "asks for; choose a strategy that infers phi task by task, such as bm.Laplace()"
            )
        if phi.start(density, tasks):
            raise StructureError(
                f"phi={phi!r} has a part that is trained together with theta, but theta=bm.Fixed() "
                "trains nothing; use theta=bm.Point()"
            )
        theta = density.theta_at(self.values, tasks)
        return Fit(density, tasks, repeated(theta[None, None], phi), phi=None)

    def __repr__(self) -> str:
        return f"Fixed({', '.join(self.values)})"
