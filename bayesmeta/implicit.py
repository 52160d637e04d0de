"""The mode of p(phi_i | D_i, theta) inside a captured graph: one operation, solved when it runs."""

from __future__ import annotations

import itertools
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._python_dispatch import _disable_current_modes

from bayesmeta.conditional import Conditional, climb
from bayesmeta.curvature import expand, parts_of
from bayesmeta.density import Density
from bayesmeta.elimination import solve
from bayesmeta.tasks import Tasks

# An operation of a graph takes tensors and numbers only: it finds its solver here by number.
_solvers: WeakValueDictionary[int, ModeSolver] = WeakValueDictionary()
_numbers = itertools.count()
_OUTSIDE = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()


class ModeSolver:
    """Finds modes of phi for tasks of any shape by damped Newton, to convergence.

    Newton's method takes as many steps as it needs, which no graph can hold, and none of them has
    to be differentiated: at the mode, the implicit function theorem gives the derivative

        d phi / d theta = A^{-1} d^2 f / d phi d theta,   f = log p(phi, D | theta), A = -f''

    (Rajeswaran et al. 2019), which is that of one more Newton step with A held fixed.

    Args:
        density: the model's density.
        tasks: which columns there are, and whether there is a query.
        jacobian: whether the mode is that of unconstrained phi.
        with_query: whether D_i is the support together with the query.
    """

    def __init__(self, density: Density, tasks: Tasks, *, jacobian: bool, with_query: bool) -> None:
        self.density, self.tasks = density, tasks
        self.jacobian, self.with_query = jacobian, with_query
        self.number = next(_numbers)
        self._conditionals: dict[tuple[torch.Size, ...], Conditional] = {}
        _solvers[self.number] = self

    def __call__(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """phi (tasks, d_phi) at theta (d_theta,), differentiable in theta, in a graph or not."""
        at = torch.ops.bayesmeta.mode(theta.detach(), tasks.tensors(), self.number)
        parts = parts_of(tasks, with_query=self.with_query)
        found = expand(self.density, theta, at, parts, jacobian=self.jacobian)
        return at + solve(found.precision.detach(), found.gradient)[0]

    def find(self, theta: Tensor, data: list[Tensor]) -> Tensor:
        """Modes (draws, tasks, d_phi) at draws of theta (draws, d_theta)."""
        shapes = tuple(x.shape for x in data)
        if shapes not in self._conditionals:
            self._conditionals[shapes] = Conditional(
                self.density,
                self.tasks.with_tensors(data),
                jacobian=self.jacobian,
                with_query=self.with_query,
            )
        return climb(self._conditionals[shapes], theta, data)[0]

    def compile(self) -> None:
        """Compile the search, for all shapes of data that it has met."""
        for conditional in self._conditionals.values():
            conditional.compile()


def solver_of(density: Density, tasks: Tasks, *, jacobian: bool, with_query: bool) -> ModeSolver:
    """The density's solver of this kind, which lives as long as the density."""
    kind = (jacobian, with_query, tuple(tasks.x), tasks.query is not None)
    if kind not in density.solvers:
        density.solvers[kind] = ModeSolver(density, tasks, jacobian=jacobian, with_query=with_query)
    solver: ModeSolver = density.solvers[kind]
    return solver


def compile_searches(graph: GraphModule) -> None:
    """Compile the searches for modes that a captured graph runs, which no compiler sees into."""
    for node in graph.graph.nodes:
        if node.target is torch.ops.bayesmeta.mode.default:
            _solvers[node.args[2]].compile()


@torch.library.custom_op("bayesmeta::mode", mutates_args=())
def _mode(theta: Tensor, data: list[Tensor], solver: int) -> Tensor:
    flat = theta.reshape(-1, theta.shape[-1])
    # Inside an operation torch has vmap and autograd switched off, and a graph may be in capture.
    with torch._C._ForceDispatchKeyGuard(*_OUTSIDE), _disable_current_modes():
        found = _solvers[solver].find(flat, data)
    return found.reshape(*theta.shape[:-1], *found.shape[1:])


@_mode.register_fake
def _shape(theta: Tensor, data: list[Tensor], solver: int) -> Tensor:
    return theta.new_empty(*theta.shape[:-1], len(data[0]), _solvers[solver].density.d_phi)


@_mode.register_vmap
def _over_draws(info: object, in_dims: tuple[object, ...], *args: object) -> tuple[Tensor, int]:
    theta, data, solver = args
    where, others, _ = in_dims
    assert isinstance(theta, Tensor) and isinstance(where, int)
    assert all(dim is None for dim in others)  # type: ignore[attr-defined]
    return torch.ops.bayesmeta.mode(theta.movedim(where, 0), data, solver), 0
