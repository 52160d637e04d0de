"""p(phi | theta, D) at many draws of theta: its mode by Newton, draws by preconditioned HMC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capture import capture, compile_graph, over_draws
from bayesmeta.curvature import expand, log_density, parts_of
from bayesmeta.density import Density
from bayesmeta.elimination import solve
from bayesmeta.tasks import Tasks

_NEWTON_STEPS = 60
_HMC_STEPS = 20
_LEAPFROGS = 4
_STEP_SIZE = 0.3
_CELLS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Modes:
    """Modes phi (draws, tasks, d_phi), and Cholesky factors of the inverse curvature there."""

    phi: Tensor
    scale: Tensor


class Conditional:
    """log p(phi_i, D_i | theta) of every task, with gradient and Hessian in phi_i, as one graph.

    Args:
        density: the model's density.
        tasks: the support; graphs are captured at its shapes.
        jacobian: whether it is a density of unconstrained phi.
        with_query: whether D_i is the support together with the query.
    """

    def __init__(
        self, density: Density, tasks: Tasks, *, jacobian: bool, with_query: bool = False
    ) -> None:
        self.density, self.tasks, self.jacobian = density, tasks, jacobian
        self.with_query = with_query
        self.data = tasks.tensors()
        self._compiled: dict[GraphModule, Callable[..., tuple[Tensor, ...]]] = {}
        theta = torch.zeros(density.d_theta, dtype=tasks.dtype)
        phi = torch.zeros(tasks.num_tasks, density.d_phi, dtype=tasks.dtype)
        self.start = capture(self._start, [theta, *self.data])
        self.slope = capture(self._slope, [theta, phi, *self.data])
        self.curve = capture(self._curve, [theta, phi, *self.data])

    def _parts(self, data: tuple[Tensor, ...]) -> list[Tasks]:
        return parts_of(self.tasks.with_tensors(data), with_query=self.with_query)

    def _start(self, theta: Tensor, *data: Tensor) -> tuple[Tensor]:
        return (self.density.prior_mean(theta, self.tasks.with_tensors(data)),)

    def _slope(self, theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            phi = phi.detach().requires_grad_()
            parts = self._parts(data)
            value = log_density(self.density, theta, phi, parts, jacobian=self.jacobian)
            (gradient,) = torch.autograd.grad(value.sum(), phi)
        return value.detach(), gradient.detach()

    def _curve(self, theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        found = expand(self.density, theta, phi, self._parts(data), jacobian=self.jacobian)
        value, gradient, precision = (x.detach() for x in found)
        # Newton's step, NaN where the curvature is not positive definite.
        return value, gradient, precision, solve(precision, gradient)[0]

    def at(
        self, graph: GraphModule, *draws: Tensor, data: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """A graph at all draws, in chunks that fit in memory; on other data of the same shapes."""
        cells = max(1, self.tasks.num_tasks * self.tasks.num_data * max(1, self.density.d_phi))
        given = self.data if data is None else data
        if graph in self._compiled and len(draws[0]) == 1:
            found = self._compiled[graph](*(d[0] for d in draws), *given)
            return tuple(x[None] for x in found)
        return over_draws(graph, draws, given, max(1, _CELLS_AT_ONCE // cells))

    def compile(self) -> None:
        """Compile what a search for the mode at one draw of theta runs, for thousands of them."""
        theta = torch.zeros(self.density.d_theta, dtype=self.tasks.dtype)
        (phi,) = self.start(theta, *self.data)
        for graph, point in ((self.start, [theta]), (self.curve, [theta, phi])):
            self._compiled[graph] = compile_graph(graph, [*point, *self.data], threads=1)


def find_mode(
    conditional: Conditional, theta: Tensor, data: Sequence[Tensor] | None = None
) -> Modes:
    """The maxima of log p(phi_i, D_i | theta) for each draw of theta (draws, d_theta)."""
    phi, precision = climb(conditional, theta, data)
    eigenvalues, vectors = _positive(precision)
    return Modes(phi, vectors / eigenvalues.sqrt()[..., None, :])


def climb(
    conditional: Conditional, theta: Tensor, data: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Maximise log p(phi_i, D_i | theta) for each draw of theta (draws, d_theta) by damped Newton.

    Where the curvature is not positive definite its eigenvalues are made positive, so that each
    step goes uphill; a step that does not go up is halved.

    Returns:
        phi (draws, tasks, d_phi), and the curvature there (draws, tasks, d_phi, d_phi).
    """
    (phi,) = conditional.at(conditional.start, theta, data=data)
    value, gradient, precision, step = conditional.at(conditional.curve, theta, phi, data=data)
    damping = torch.ones_like(value)
    for _ in range(_NEWTON_STEPS):
        step = _uphill(step, gradient, precision)
        if not (step.abs().amax(-1) > 1e-9 * (1 + phi.abs().amax(-1))).any():
            break
        proposal = phi + damping[..., None] * step
        new = conditional.at(conditional.curve, theta, proposal, data=data)
        up = new[0] >= value - 1e-12 * value.abs()
        damping = torch.where(up, (2 * damping).clamp(max=1), damping / 2)
        phi = torch.where(up[..., None], proposal, phi)
        value = torch.where(up, new[0], value)
        gradient = torch.where(up[..., None], new[1], gradient)
        precision = torch.where(up[..., None, None], new[2], precision)
        step = torch.where(up[..., None], new[3], step)
    return phi, precision


def draw_phi(
    conditional: Conditional, theta: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One draw of phi for each draw of theta, from p(phi | theta, D).

    Hamiltonian Monte Carlo in coordinates whitened by the curvature at the mode, started from the
    Laplace approximation, with an accept step of its own for each draw and task (they are
    independent given theta). Exact where the conditional is Gaussian; elsewhere the accept steps
    correct the start.

    Returns:
        phi (draws, tasks, d_phi), and each task's mean acceptance rate (tasks,).
    """
    mode = find_mode(conditional, theta)

    def place(z: Tensor) -> Tensor:
        return mode.phi + (mode.scale @ z[..., None])[..., 0]

    def slope(z: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = conditional.at(conditional.slope, theta, place(z))
        return value, (mode.scale.mT @ gradient[..., None])[..., 0]

    def noise() -> Tensor:
        return torch.randn(mode.phi.shape, dtype=theta.dtype, generator=generator)

    z, accepted = noise(), torch.zeros(mode.phi.shape[:2], dtype=theta.dtype)
    value, gradient = slope(z)
    for _ in range(_HMC_STEPS):
        start = noise()
        momentum, position, new, force = start, z, value, gradient
        for _ in range(_LEAPFROGS):
            momentum = momentum + 0.5 * _STEP_SIZE * force
            position = position + _STEP_SIZE * momentum
            new, force = slope(position)
            momentum = momentum + 0.5 * _STEP_SIZE * force
        gain = new - value + 0.5 * (start.square().sum(-1) - momentum.square().sum(-1))
        rate = torch.nan_to_num(gain, nan=-torch.inf).clamp(max=0).exp()
        take = torch.rand(rate.shape, dtype=rate.dtype, generator=generator) < rate
        z = torch.where(take[..., None], position, z)
        value = torch.where(take, new, value)
        gradient = torch.where(take[..., None], force, gradient)
        accepted += rate / _HMC_STEPS
    return place(z), accepted.mean(0)


def _positive(precision: Tensor) -> tuple[Tensor, Tensor]:
    eigenvalues, vectors = torch.linalg.eigh(precision)
    size = eigenvalues.abs()
    floor = 1e-10 * size.amax(-1, keepdim=True).clamp(min=1e-300)
    return torch.maximum(size, floor), vectors


def _uphill(step: Tensor, gradient: Tensor, precision: Tensor) -> Tensor:
    """Newton's step, or, where it is NaN, that of the curvature made positive."""
    astray = step.isnan().any(-1)
    if not astray.any():
        return step
    eigenvalues, vectors = _positive(precision)
    projected = (vectors.mT @ gradient[..., None])[..., 0] / eigenvalues
    return torch.where(astray[..., None], (vectors @ projected[..., None])[..., 0], step)
