"""log p(theta, D) as a function of theta alone, and its maximum."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property

import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capturing.capture import compile_graph, over_draws, value_and_gradient
from bayesmeta.capturing.kept import captured
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.newton import Minimum, minimise
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_phi, theta_sd, theta_start
from bayesmeta.phi.base import Phi
from bayesmeta.running.isolation import isolated
from bayesmeta.sufficiency import SufficientDensity, agree
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.task_level.implicit_mode import (
    Line,
    compile_searches,
    following_searches,
    has_searches,
    searches_along,
    solver_of,
)

_CELLS_AT_ONCE = 1_000_000
# Nats between the function with searches that follow each other and with searches afresh.
_SAME = 1e-4
_DRAWS = 2


class LogPosterior:
    """log p(theta) + sum_i log_evidence_i, at many theta at once, in float64.

    With phi=Joint() it is the profile: the maximum over phi_i stands for the log evidence, so that
    its maximum is that of theta and phi together.

    Args:
        density: the model's density.
        phi: a strategy whose log evidence is a smooth function of theta alone, or Joint().
        tasks: the data; with a query where theta is to be judged by it.
        jacobian: whether it is a density of unconstrained theta.
        weight: for how many tasks each of these stands.
    """

    def __init__(
        self, density: Density, phi: Phi, tasks: Tasks, *, jacobian: bool, weight: float = 1.0
    ) -> None:
        self.density, self.phi, self.jacobian, self.weight = density, phi, jacobian, weight
        self.tasks = tasks.to(dtype=torch.float64)
        self._whole = density, phi, self.tasks
        short = phi.shortened(density, self.tasks)
        if short is not None:
            self.density, self.phi, self.tasks = short
        self._capture()

    def _capture(self) -> None:
        self.__dict__.pop("_value_graph", None)
        self._compiled: Callable[..., tuple[Tensor, ...]] | None = None
        density, self.data = self.density, self.tasks.tensors()
        width = density.width(self.tasks)
        # A matrix a task, with its factor and its inverse, beside the data.
        rows = self.phi.searched(density, self.tasks)[1].num_tasks
        cells = rows * (self.tasks.num_data * (1 + width) + 3 * width**2)
        self._at_once = max(1, _CELLS_AT_ONCE // max(1, cells))
        self._graph = self._captured("slopes", value_and_gradient(self._minus, 1))

    def _captured(self, name: str, function: Callable[..., tuple[Tensor, ...]]) -> GraphModule:
        kind = "log posterior", name, self.phi, self.jacobian, self.weight
        inputs = [torch.zeros(self.density.d_theta, dtype=torch.float64), *self.data]
        return captured(self.density, kind, [self.tasks], function, inputs, is_last=True)

    def maximum(self, steps: int = 200, start: Tensor | None = None) -> Minimum:
        """By so many steps of Newton from the middle of the prior; of minus this function."""
        if start is None:
            start = theta_start(self.density, self.tasks)
        units = theta_sd(self.density, self.tasks)
        # Modes of phi move little from one theta to the next, and may stay on a lower peak.
        with following_searches(self._graph):
            found = minimise(self.slopes, start, units, steps)
        if not self.holds_at(found.at):
            self.take_all()
            return self.maximum(steps, start)
        (afresh,), _ = self.slopes(found.at[None])
        if not torch.isfinite(found.value) or float((afresh - found.value).abs()) < _SAME:
            return found
        return minimise(self.slopes, start, units, steps)

    def take_all(self) -> None:
        """Use all datapoints from here on."""
        self.density, self.phi, self.tasks = self._whole
        self._capture()

    def holds_at(self, theta: Tensor) -> bool:
        """Whether a density on fewer datapoints is that on all of them also where it led to."""
        density, _, tasks = self._whole
        if not isinstance(self.density, SufficientDensity) or not torch.isfinite(theta).all():
            return True
        with isolated(seed=0), torch.no_grad():
            phi = [draw_prior_phi(density, theta, tasks) for _ in range(_DRAWS)]
            places = [(theta, x) for x in phi]
            return agree(density, tasks, self.density, self.tasks, places)

    def slopes(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Minus the function, and its gradients, at theta (n, d_theta): (n,) and (n, d_theta)."""
        value, gradient = over_draws(self._graph, [theta], self.data, self._at_once)
        return value, gradient

    def values(self, theta: Tensor) -> Tensor:
        """The function at theta (n, d_theta), (n,); for many of them."""
        if self._compiled is not None:
            with torch.no_grad():
                return -torch.stack([self._compiled(at, *self.data)[0] for at in theta])
        (found,) = over_draws(self._value_graph, [theta], self.data, self._at_once)
        return -found

    @property
    def searches(self) -> bool:
        """Whether each value takes a search for modes of phi."""
        return has_searches(self._value_graph)

    def along(self, line: Line) -> AbstractContextManager[None]:
        """Meanwhile searches that `values` take start on a line."""
        return searches_along(self._value_graph, line)

    def compile(self) -> None:
        """Compile `values`, which takes some 15 s, for thousands of theta."""
        compile_searches(self._value_graph)
        example = torch.zeros(self.density.d_theta, dtype=torch.float64)
        self._compiled = compile_graph(self._value_graph, [example, *self.data], threads=1)

    @cached_property
    def _value_graph(self) -> GraphModule:
        def value(theta: Tensor, *data: Tensor) -> tuple[Tensor]:
            return (self._minus(theta, *data).detach(),)

        return self._captured("value", value)

    def _minus(self, theta: Tensor, *data: Tensor) -> Tensor:
        given = self.tasks.with_tensors(data)
        phi = theta.new_zeros(given.num_tasks, self.density.width(given))
        if self.phi.is_joint:
            phi = self._mode(theta, given)
        levels = self.density.terms(theta, phi, given, jacobian=self.jacobian)
        values = levels.phi + levels.data
        if not self.phi.is_joint:
            values = self.phi.log_evidence(self.density, theta, given)
        return -(levels.theta + self.weight * values.sum())

    def _mode(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """phi where it is best at theta; held, as the slope of a maximum is that at its place."""
        curvature = choose(None, self.density, tasks)
        solver = solver_of(self.density, tasks, curvature, jacobian=self.jacobian, with_query=False)
        return solver(theta, tasks).detach()
