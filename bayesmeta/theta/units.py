"""A family in the units of a pilot: where training starts, and how long its steps are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.task_level.ascent import Modes, find_mode
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.task_level.positive_definite import DensePrecision
from bayesmeta.theta.families import Family
from bayesmeta.theta.pilot import Pilot

# In posterior standard deviations of theta: how far modes of phi are followed to see their slope.
_STEP = 0.1
_CELLS_AT_ONCE = 200_000
# As far as modes are taken to move in proportion to theta.
_FAR = 4.0


@dataclass(frozen=True)
class Rows:
    """Where phi_i is given theta = c + S z: about m_i + B_i z, with covariance T_i T_i'.

    Attributes:
        centre, slope, root: m (tasks, d_phi), B (tasks, d_phi, d_theta), T (tasks, d_phi, d_phi).
    """

    centre: Tensor
    slope: Tensor
    root: Tensor

    def tensors(self) -> list[Tensor]:
        """All three."""
        return [self.centre, self.slope, self.root]

    def to(self, dtype: torch.dtype) -> Rows:
        """The same in another precision."""
        return Rows(*(x.to(dtype) for x in self.tensors()))

    def place(self, z: Tensor, w: Tensor) -> Tensor:
        """m_i + B_i z + T_i w_i; the units stay what they are in training."""
        centre, slope, root = (x.detach() for x in self.tensors())
        phi: Tensor = centre + (slope * z).sum(-1) + (root @ w[..., None])[..., 0]
        return phi


@dataclass(frozen=True)
class Tangent:
    """Where a search for phi's mode may start at theta = c + S z: m_i + B_i z, not far from c.

    Attributes:
        centre, root: c and S.
        rows: m and B.
    """

    centre: Tensor
    root: Tensor
    rows: Rows

    def __call__(self, theta: Tensor) -> Tensor:
        """phi (draws, tasks, d_phi) at draws of theta (draws, d_theta)."""
        z = _solve(self.root, theta - self.centre)
        z = z * (_FAR / z.abs().amax(-1, keepdim=True).clamp(min=_FAR))
        return self.rows.centre + torch.einsum("nk,ijk->nij", z, self.rows.slope)


@dataclass(frozen=True, eq=False)
class InUnits(Family):
    """A family of (z, w) where theta = c + S z and phi_i = m_i + B_i z + T_i w_i.

    Rows of the units are among those of the parameters, so that a batch has its own; they stay.

    Attributes:
        family: of (z, w); it starts at the standard normal.
        centre, root: c (d_theta,) and S (d_theta, d_theta), lower triangular.
        rows: of phi.
    """

    family: Family
    centre: Tensor
    root: Tensor
    rows: Rows

    def to(self, dtype: torch.dtype) -> InUnits:
        """The same in another precision."""
        centre, root = self.centre.to(dtype), self.root.to(dtype)
        return replace(self, centre=centre, root=root, rows=self.rows.to(dtype))

    def start(
        self, d_theta: int, tasks: int, d_phi: int, sd: float = 1.0
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The parameters of the family, and the units of each task."""
        shared, rows = self.family.start(d_theta, tasks, d_phi, sd)
        return shared, [*rows, *(x[:tasks].clone() for x in self.rows.tensors())]

    def draw(
        self, shared: list[Tensor], rows: list[Tensor], noise_theta: Tensor, noise_phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """theta = c + S z; phi_i = m_i + B_i z + T_i w_i."""
        z, w = self.family.draw(shared, rows[:-3], noise_theta, noise_phi)
        return self.centre + self.root @ z, Rows(*rows[-3:]).place(z, w)

    def log_prob(
        self, shared: list[Tensor], rows: list[Tensor], theta: Tensor, phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Those of z and w, less log det S and log det T_i."""
        own, units = rows[:-3], Rows(*(x.detach() for x in rows[-3:]))
        z = _solve(self.root, theta - self.centre)
        w = _solve(units.root, phi - units.centre - (units.slope * z).sum(-1))
        log_theta, log_phi = self.family.log_prob(shared, own, z, w)
        return log_theta - _log_det(self.root), log_phi - _log_det(units.root)

    def noise_theta(self, d_theta: int) -> int:
        """As many as the family takes."""
        return self.family.noise_theta(d_theta)

    def covariance(self, shared: list[Tensor]) -> Tensor:
        """Of theta: S C S' for C of z."""
        return self.root @ self.family.covariance(shared) @ self.root.mT

    def shift(self, shared: list[Tensor], slope: Tensor) -> Tensor:
        """S C g for slopes g in the mean of z."""
        return self.family.shift(shared, slope) @ self.root.mT

    def log_sds(self, second: Tensor) -> Tensor:
        """Those of the family."""
        return self.family.log_sds(second)


def in_units(family: Family, density: Density, tasks: Tasks, pilot: Pilot, free: int) -> InUnits:
    """The family in the units of a pilot; a family without correlations keeps having none.

    Args:
        family: of theta, and of phi where it is free.
        density, tasks: what is fitted.
        pilot: of theta.
        free: numbers a task that are fitted with theta: d_phi, or 0.
    """
    root = pilot.root if family.correlates else pilot.precision.diagonal().rsqrt().diag()
    rows = rows_of(density, tasks, pilot.theta, root, free)
    if not family.correlates:
        sds = rows.root.square().sum(-1).sqrt()
        rows = Rows(rows.centre, torch.zeros_like(rows.slope), sds.diag_embed())
    return InUnits(family, pilot.theta.to(tasks.dtype), root.to(tasks.dtype), rows)


def tangent(density: Density, tasks: Tasks, pilot: Pilot) -> Tangent:
    """That of modes of phi at a pilot of theta."""
    rows = rows_of(density, tasks, pilot.theta, pilot.root, density.width(tasks))
    return Tangent(pilot.theta, pilot.root, rows)


def rows_of(density: Density, tasks: Tasks, theta: Tensor, root: Tensor, free: int) -> Rows:
    """Modes of phi and their curvature at theta, and how they move with it; of no numbers if none.

    Args:
        density, tasks: what is fitted.
        theta, root: c and S.
        free: d_phi, or 0.
    """
    if not free:
        shapes = (0,), (0, len(theta)), (0, 0)
        return Rows(*(torch.zeros(tasks.num_tasks, *s, dtype=tasks.dtype) for s in shapes))
    size = max(1, _CELLS_AT_ONCE // (tasks.num_data * (1 + free)))
    at = torch.cat([theta[None], theta + _STEP * root.mT, theta - _STEP * root.mT])
    graphs: dict[int, Conditional] = {}
    found = []
    for chunk in torch.arange(tasks.num_tasks, device="cpu").split(size):
        given = tasks.select(chunk).to(dtype=torch.float64)
        if len(chunk) not in graphs:
            curvature = choose(None, density, tasks)
            graphs[len(chunk)] = Conditional(density, given, jacobian=True, curvature=curvature)
        found.append(_rows(find_mode(graphs[len(chunk)], at, given.tensors()), len(theta)))
    return Rows(*(torch.cat(x).to(tasks.dtype) for x in zip(*found, strict=True)))


def _rows(modes: Modes, d_theta: int) -> tuple[Tensor, ...]:
    """Centre, slope and root, of modes at theta and a step up and down each column of S."""
    up, down = modes.phi[1:].split(d_theta)
    precision = modes.precision
    assert isinstance(precision, DensePrecision)
    spread = torch.linalg.cholesky(torch.linalg.inv(precision.matrix[0]))
    return modes.phi[0], ((up - down) / (2 * _STEP)).permute(1, 2, 0), spread


def _solve(root: Tensor, vector: Tensor) -> Tensor:
    found: Tensor = torch.linalg.solve_triangular(root, vector[..., None], upper=False)[..., 0]
    return found


def _log_det(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
