"""The mode of p(phi_i | D_i, theta) inside a captured graph: one operation, solved when it runs."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.utils._python_dispatch import _disable_current_modes

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.conjugate_gradients import conjugate_gradients
from bayesmeta.model.density import Density
from bayesmeta.task_level.ascent import approach, climb
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.curvature import Curvature, parts_of, slope

# Draws of theta (draws, d_theta) to where a search may start, phi (draws, tasks, d_phi).
Line = Callable[[Tensor], Tensor]
# An operation of a graph takes tensors and numbers only: it finds its solver here by number.
_solvers: WeakValueDictionary[int, ModeSolver] = WeakValueDictionary()
_numbers = itertools.count()
_OUTSIDE = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
_PRODUCTS = 100
_RESIDUAL = {torch.float64: 1e-10, torch.float32: 1e-5}


class ModeSolver:
    """Finds modes of phi for tasks of any shape, by as many steps as their curvature asks for.

    Newton's method takes as many steps as it needs, which no graph can hold, and none of them has
    to be differentiated: at the mode, the implicit function theorem gives the derivative

        d phi / d theta = A^{-1} d^2 f / d phi d theta,   f = log p(phi, D | theta), A = -f''

    (Rajeswaran et al. 2019), which is that of one more Newton step with A held fixed. Where A is
    not at hand as a matrix, that system is solved by conjugate gradients with products A v, and
    with the curvature at hand as preconditioner; where that curvature asks for a few steps only, it
    is taken for A.

    Args:
        density: the model's density.
        tasks: which columns there are, and whether there is a query.
        curvature: what stands for A in the search.
        jacobian: whether the mode is that of unconstrained phi.
        with_query: whether D_i is the support together with the query.
    """

    def __init__(
        self,
        density: Density,
        tasks: Tasks,
        curvature: Curvature,
        *,
        jacobian: bool,
        with_query: bool,
    ) -> None:
        self.density, self.tasks, self.curvature = density, tasks, curvature
        self.jacobian, self.with_query = jacobian, with_query
        self.number = next(_numbers)
        self._conditionals: dict[tuple[Any, ...], Conditional] = {}
        self._last: Tensor | None = None
        self._follows = False
        self._line: Line | None = None
        _solvers[self.number] = self

    def __call__(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """phi (tasks, d_phi) at theta (d_theta,), differentiable in theta, in a graph or not."""
        data = tasks.tensors()
        at, matrix = torch.ops.bayesmeta.mode(theta.detach(), data, self.number)
        parts = parts_of(tasks, with_query=self.with_query)
        _, gradient, _ = slope(self.density, theta, at.detach(), parts, jacobian=self.jacobian)
        if self.curvature.is_exact:
            return at + self.curvature.form([matrix]).solve(gradient)[0]
        # The search has gone as far as it could: the step is 0, and there for its derivative.
        nothing = gradient - gradient.detach()
        step: Tensor = torch.ops.bayesmeta.newton(theta.detach(), at, nothing, data, self.number)
        return at + step

    def find(self, theta: Tensor, data: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Modes (draws, tasks, d_phi) at draws of theta (draws, d_theta), and the Hessian there.

        Where the curvature is another, empty (draws, 0, d_phi, d_phi) stands for the Hessian.
        """
        conditional = self._conditional(data)
        if self.curvature.is_exact:
            near = self._last if self._line is None else self._line(theta)
            if near is not None:
                near = near.expand(len(theta), -1, -1)
            phi, precision = climb(conditional, theta, data, near)
            if self._follows and len(theta) == 1:
                self._last = phi
            return phi, precision.matrix
        phi = approach(conditional, theta, data, self.curvature.steps_in(theta.dtype))
        return phi, _none_of(phi)

    def step(self, theta: Tensor, phi: Tensor, right: Tensor, data: list[Tensor]) -> Tensor:
        """A^{-1} right at phi, both (draws, tasks, d_phi), by conjugate gradients."""
        if not right.any():
            return right.clone()
        conditional = self._conditional(data)
        tensors = conditional.at(conditional.curve, theta, phi, data=data)[3:]
        near = self.curvature.form(tensors)
        if self.curvature.steps_in(theta.dtype) is not None:
            return near.solve(right)[0]
        return conjugate_gradients(
            lambda v: conditional.at(conditional.bend, theta, phi, v, data=data)[0],
            lambda v: near.solve(v)[0],
            right,
            steps=_PRODUCTS,
            tolerance=_RESIDUAL[right.dtype],
        )

    def start(self, follows: bool, line: Line | None) -> None:
        """Whether searches start where the last one ended, or on a line; of one data alone."""
        self._follows, self._line, self._last = follows, line, None

    def compile(self) -> None:
        """Compile the search, for all shapes of data that it has met."""
        for conditional in self._conditionals.values():
            conditional.compile()

    def _conditional(self, data: list[Tensor]) -> Conditional:
        # What is compiled holds for one layout in memory.
        kind = tuple((x.shape, x.stride()) for x in data)
        if kind not in self._conditionals:
            self._conditionals[kind] = Conditional(
                self.density,
                self.tasks.with_tensors(data),
                jacobian=self.jacobian,
                with_query=self.with_query,
                curvature=self.curvature,
            )
        return self._conditionals[kind]


def solver_of(
    density: Density, tasks: Tasks, curvature: Curvature, *, jacobian: bool, with_query: bool
) -> ModeSolver:
    """The density's solver of this kind, which lives as long as the density."""
    # Not by names, as each batch has others; a model may read these beside the tensors.
    layout = (tuple(tasks.x), tasks.query is not None, tasks.ragged, tasks.is_query, tasks.dtype)
    kind = (curvature, jacobian, with_query, layout)
    if kind not in density.solvers:
        density.solvers[kind] = ModeSolver(
            density, tasks, curvature, jacobian=jacobian, with_query=with_query
        )
    solver: ModeSolver = density.solvers[kind]
    return solver


def compile_searches(graph: GraphModule) -> None:
    """Compile the searches for modes that a captured graph runs, which no compiler sees into."""
    for node in graph.graph.nodes:
        if _is_mode(node):
            _solvers[node.args[2]].compile()


def has_searches(graph: GraphModule) -> bool:
    """Whether a captured graph searches for modes."""
    return any(_is_mode(node) for node in graph.graph.nodes)


@contextlib.contextmanager
def following_searches(graph: GraphModule) -> Iterator[None]:
    """Searches for modes that a captured graph runs start at the last ones; afterwards afresh."""
    with _started(graph, follows=True):
        yield


@contextlib.contextmanager
def searches_along(graph: GraphModule, line: Line) -> Iterator[None]:
    """They start where a line leads, so that what they find is a function of theta alone."""
    with _started(graph, line=line):
        yield


@contextlib.contextmanager
def _started(
    graph: GraphModule, *, follows: bool = False, line: Line | None = None
) -> Iterator[None]:
    solvers = [_solvers[n.args[2]] for n in graph.graph.nodes if _is_mode(n)]
    try:
        for solver in solvers:
            solver.start(follows, line)
        yield
    finally:
        for solver in solvers:
            solver.start(False, None)


def _is_mode(node: Node) -> bool:
    return node.target is torch.ops.bayesmeta.mode.default


def _none_of(phi: Tensor) -> Tensor:
    return phi.new_empty(*phi.shape[:-2], 0, phi.shape[-1], phi.shape[-1])


@torch.library.custom_op("bayesmeta::mode", mutates_args=())
def _mode(theta: Tensor, data: list[Tensor], solver: int) -> tuple[Tensor, Tensor]:
    flat = theta.reshape(-1, theta.shape[-1])
    # Inside an operation torch has vmap and autograd switched off, and a graph may be in capture.
    with torch._C._ForceDispatchKeyGuard(*_OUTSIDE), _disable_current_modes():
        phi, matrix = _solvers[solver].find(flat, data)
    draws = theta.shape[:-1]
    return phi.reshape(*draws, *phi.shape[1:]), matrix.reshape(*draws, *matrix.shape[1:])


@_mode.register_fake
def _shape(theta: Tensor, data: list[Tensor], solver: int) -> tuple[Tensor, Tensor]:
    found = _solvers[solver]
    width = found.density.width(found.tasks.with_tensors(data))
    phi = theta.new_empty(*theta.shape[:-1], len(data[0]), width)
    return phi, phi.new_empty(*phi.shape, width) if found.curvature.is_exact else _none_of(phi)


@_mode.register_vmap
def _over_draws(
    info: object, in_dims: tuple[object, ...], *args: object
) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
    theta, data, solver = args
    where, others, _ = in_dims
    assert isinstance(theta, Tensor) and isinstance(where, int)
    assert all(dim is None for dim in others)  # type: ignore[attr-defined]
    return torch.ops.bayesmeta.mode(theta.movedim(where, 0), data, solver), (0, 0)


@torch.library.custom_op("bayesmeta::newton", mutates_args=())
def _newton(theta: Tensor, phi: Tensor, right: Tensor, data: list[Tensor], solver: int) -> Tensor:
    whole = right.shape
    flat = theta.reshape(-1, theta.shape[-1])
    at, to = (x.reshape(-1, *whole[-2:]) for x in (phi, right))
    with torch._C._ForceDispatchKeyGuard(*_OUTSIDE), _disable_current_modes():
        return _solvers[solver].step(flat, at, to, data).reshape(whole)


@_newton.register_fake
def _like(theta: Tensor, phi: Tensor, right: Tensor, data: list[Tensor], solver: int) -> Tensor:
    return torch.empty_like(right)


@_newton.register_vmap
def _newton_over_draws(
    info: Any, in_dims: tuple[int | None, ...], *args: Any
) -> tuple[Tensor, int]:
    *points, data, solver = args
    batched = [
        x.expand(info.batch_size, *x.shape) if dim is None else x.movedim(dim, 0)
        for x, dim in zip(points, in_dims, strict=False)
    ]
    return torch.ops.bayesmeta.newton(*batched, data, solver), 0


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    theta, phi, _, data, ctx.solver = inputs
    ctx.count = len(data)
    ctx.save_for_backward(theta, phi, *data)


def _backward(ctx: Any, slope: Tensor) -> tuple[Any, ...]:
    """A is symmetric and held fixed: the slope in the right side is A^{-1} slope."""
    theta, phi, *data = ctx.saved_tensors
    inner = torch.ops.bayesmeta.newton(theta, phi, slope.contiguous(), data, ctx.solver)
    return None, None, inner, [None] * ctx.count, None


_newton.register_autograd(_backward, setup_context=_keep)


def _spare_compiler(operation: Any) -> None:
    """Torch imports its compiler, for 1.2 s, where an operation of one's own is first called.

    It does so to keep the compiler out of it, which is not there where nothing is compiled.
    """
    for kernel in getattr(operation, "_backend_fns", {}).values():
        inner = getattr(kernel, "__wrapped__", None)
        if inner is not None:
            inner.__dynamo_disable = inner


for _operation in (_mode, _newton):
    _spare_compiler(_operation)
