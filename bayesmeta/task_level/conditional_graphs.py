"""log p(phi_i, D_i | theta) and its derivatives as graphs, run at many draws of theta at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capturing.capture import compile_graph, over_draws
from bayesmeta.capturing.kept import captured
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean, prior_sd
from bayesmeta.task_level.curvature import Curvature, bend, log_density, parts_of, slope

_CELLS_AT_ONCE = 2_000_000
# Calls at as many draws, as a chain makes, after which it pays to record what they do.
_OFTEN = 10


class Conditional:
    """log p(phi_i, D_i | theta) of every task, with gradient and Hessian in phi_i, as graphs.

    `ascent` climbs by them outside of any graph; inside one, `implicit_mode` does.

    Args:
        density: the model's density.
        tasks: the support; graphs are captured at its shapes.
        jacobian: whether it is a density of unconstrained phi.
        curvature: what stands for the Hessian in the search for a mode.
        with_query: whether D_i is the support together with the query.
    """

    def __init__(
        self,
        density: Density,
        tasks: Tasks,
        *,
        jacobian: bool,
        curvature: Curvature,
        with_query: bool = False,
    ) -> None:
        self.density, self.tasks, self.jacobian = density, tasks, jacobian
        self.with_query, self.curvature = with_query, curvature
        self.data = tasks.tensors()
        self._compiled: dict[GraphModule, Callable[..., tuple[Tensor, ...]]] = {}
        self._calls: dict[tuple[GraphModule, int], int] = {}
        self._recorded: dict[tuple[GraphModule, int], GraphModule] = {}
        self._theta = torch.zeros(density.d_theta, dtype=tasks.dtype)
        self._phi = torch.zeros(tasks.num_tasks, density.width(tasks), dtype=tasks.dtype)
        self.start = self._graph(self._start, self._theta)
        self.curve = self._graph(self._curve, self._theta, self._phi, is_last=True)

    @cached_property
    def slope(self) -> GraphModule:
        """(theta, phi, *data) to the density and its gradient in phi."""
        return self._graph(self._slope, self._theta, self._phi)

    @cached_property
    def value(self) -> GraphModule:
        """(theta, phi, *data) to the density alone."""
        return self._graph(self._value, self._theta, self._phi)

    @cached_property
    def spread(self) -> GraphModule:
        """(theta, phi, *data) to the sd of phi before any data."""
        return self._graph(self._spread, self._theta, self._phi)

    @cached_property
    def bend(self) -> GraphModule:
        """(theta, phi, vector, *data) to minus the Hessian times the vector."""
        return self._graph(self._bend, self._theta, self._phi, self._phi)

    def _graph(
        self, function: Callable[..., tuple[Tensor, ...]], *point: Tensor, is_last: bool = False
    ) -> GraphModule:
        kind = "conditional", function.__name__, self.curvature, self.jacobian, self.with_query
        inputs = [*point, *self.data]
        return captured(self.density, kind, [self.tasks], function, inputs, is_last=is_last)

    def _parts(self, data: tuple[Tensor, ...]) -> list[Tasks]:
        return parts_of(self.tasks.with_tensors(data), with_query=self.with_query)

    def _start(self, theta: Tensor, *data: Tensor) -> tuple[Tensor]:
        return (prior_mean(self.density, theta, self.tasks.with_tensors(data)),)

    def _value(self, theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor]:
        parts = self._parts(data)
        return (log_density(self.density, theta, phi, parts, jacobian=self.jacobian),)

    def _spread(self, theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor]:
        return (prior_sd(self.density, theta, phi, self.tasks.with_tensors(data)),)

    def _slope(self, theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, Tensor]:
        parts = self._parts(data)
        value, gradient, _ = slope(self.density, theta, phi, parts, jacobian=self.jacobian)
        return value.detach(), gradient.detach()

    def _curve(self, theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        value, gradient, precision = self.curvature.expand(
            self.density, theta, phi, self._parts(data), jacobian=self.jacobian
        )
        # Newton's step, NaN where the curvature is not positive definite.
        step, _ = precision.solve(gradient)
        return tuple(x.detach() for x in (value, gradient, step, *precision.tensors()))

    def _bend(self, theta: Tensor, phi: Tensor, vector: Tensor, *data: Tensor) -> tuple[Tensor]:
        parts = self._parts(data)
        return (bend(self.density, theta, phi, parts, vector, jacobian=self.jacobian),)

    def at(
        self, graph: GraphModule, *draws: Tensor, data: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, ...]:
        """A graph at all draws, in chunks that fit in memory; on other data of the same shapes."""
        cells = max(
            1, self.tasks.num_tasks * self.tasks.num_data * max(1, self.density.width(self.tasks))
        )
        given = self.data if data is None else data
        if graph in self._compiled and len(draws[0]) == 1:
            found = self._compiled[graph](*(d[0] for d in draws), *given)
            return tuple(x[None] for x in found)
        at_once = max(1, _CELLS_AT_ONCE // cells)
        if not 1 < len(draws[0]) <= at_once:
            return over_draws(graph, draws, given, at_once)
        key = graph, len(draws[0])
        self._calls[key] = self._calls.get(key, 0) + 1
        if self._calls[key] < _OFTEN:
            return over_draws(graph, draws, given, at_once)
        if key not in self._recorded:
            self._recorded[key] = self._over(graph, draws, given)
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = self._recorded[key](*draws, *given)
        return outputs

    def _over(
        self, graph: GraphModule, draws: Sequence[Tensor], data: Sequence[Tensor]
    ) -> GraphModule:
        """The graph over so many draws, without what vmap does at each call."""
        batched = torch.func.vmap(graph, in_dims=(0,) * len(draws) + (None,) * len(data))
        inputs = [*draws, *data]
        return captured(self.density, ("over draws", graph), [], batched, inputs, is_last=True)

    def compile(self) -> None:
        """Compile what a search for the mode at one draw of theta runs, for thousands of them."""
        (phi,) = self.start(self._theta, *self.data)
        for graph, point in ((self.start, [self._theta]), (self.curve, [self._theta, phi])):
            self._compiled[graph] = compile_graph(graph, [*point, *self.data], threads=1)
