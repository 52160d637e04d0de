"""PartialDensity: the density as a function of some of phi, the rest of which stays where it is."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density, Terms
from bayesmeta.nets import calls
from bayesmeta.nets.phi_layers import Layers
from bayesmeta.running.sites import Site


@dataclass(frozen=True)
class PartialDensity:
    """log p(theta), log p(phi_i | theta) and log p(D_i | phi_i, theta) in some numbers of phi.

    Networks of which nothing else moves are not differentiated through.

    Attributes:
        density: the model's density.
        layers: of its phi.
        moves: which numbers of phi are the argument, bool (d_phi,).
        base: phi (tasks, d_phi), which the others are taken from.
    """

    density: Density
    layers: Layers
    moves: Tensor
    base: Tensor

    def terms(self, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool = True) -> Terms:
        """As the density's, at phi of shape (tasks, numbers that move)."""
        with self.held():
            return self.density.terms(theta, self.whole(phi), tasks, jacobian=jacobian)

    def outcomes(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Site]:
        """As the density's, at phi of shape (tasks, numbers that move)."""
        with self.held():
            return self.density.outcomes(theta, self.whole(phi), tasks)

    def held(self) -> AbstractContextManager[None]:
        """Within it, networks take what does not move from the base."""
        return calls.hold(self.layers.still(self.moves, self.base))

    def of(self, phi: Tensor) -> Tensor:
        """The numbers that move, (..., some), of phi (..., d_phi)."""
        return phi[..., self.moves]

    def whole(self, some: Tensor) -> Tensor:
        """phi (..., tasks, d_phi) with these numbers that move, (..., tasks, some)."""
        base = self.base.expand(*some.shape[:-1], -1)
        return base.index_copy(-1, self.moves.nonzero()[:, 0].to(base.device), some)
