"""The loss of a batch of tasks with its gradient: captured once, run chunk by chunk, compiled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capturing.capture import capture, compile_graph, value_and_gradient
from bayesmeta.capturing.chunking import chunk_sizes, fitting, is_small, most_groups
from bayesmeta.capturing.repeats import without_repeats
from bayesmeta.data.tasks import Tasks
from bayesmeta.task_level.implicit_mode import compile_searches
from bayesmeta.training.optimiser import Parameters

Loss = Callable[..., Tensor]
Step = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Noise:
    """Random numbers of a step: `shared` ones, and `rows` of shape (any, tasks, ...)."""

    shared: list[Tensor] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Batch:
    """All that a loss depends on, for some of the tasks."""

    parameters: Parameters
    noise: Noise
    tasks: Tasks

    def tensors(self) -> list[Tensor]:
        """The inputs of a loss: (*shared, *rows, *noise, *data)."""
        return [
            *self.parameters.shared,
            *self.parameters.rows,
            *self.noise.shared,
            *self.noise.rows,
            *self.tasks.tensors(),
        ]

    def part(self, start: int, stop: int) -> Batch:
        """The tasks from start to stop."""
        return Batch(
            Parameters(self.parameters.shared, [r[start:stop] for r in self.parameters.rows]),
            Noise(self.noise.shared, [n[:, start:stop].contiguous() for n in self.noise.rows]),
            self.tasks.select(torch.arange(start, stop, device="cpu")),
        )


class Stepper:
    """The mean loss of a batch and its gradients, by as many tasks at once as memory holds.

    Args:
        loss_of: makes the loss of so many tasks, a mean over them.
        batch: an example, at whose shapes graphs are captured.
        d_phi: numbers a task beside its data.
        chunk_size: tasks at once at most; None chooses.
    """

    def __init__(
        self, loss_of: Callable[[int], Loss], batch: Batch, d_phi: int, chunk_size: int | None
    ) -> None:
        self._loss_of = loss_of
        self._shared = len(batch.parameters.shared)
        self._count = self._shared + len(batch.parameters.rows)
        self._graphs: dict[int, GraphModule] = {}
        sizes = chunk_sizes(batch.tasks.num_tasks, chunk_size or self._choose(batch, d_phi))
        self.chunks = list(pairwise(accumulate(sizes, initial=0)))
        self._steps: dict[int, Step] = {n: self._graph(n, batch) for n in set(sizes)}

    def __call__(self, batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss, and its gradients in the shared parameters and the rows."""
        found = []
        for start, stop in self.chunks:
            with torch.no_grad():
                outputs = self._steps[stop - start](*self._inputs(batch, start, stop))
            if len(self.chunks) == 1:
                return outputs[0], list(outputs[1:])
            weight = (stop - start) / batch.tasks.num_tasks
            found.append([weight * x for x in outputs])
        columns = list(zip(*found, strict=True))
        shared = [torch.stack(parts).sum(0) for parts in columns[: self._shared + 1]]
        return shared[0], [*shared[1:], *(torch.cat(c) for c in columns[self._shared + 1 :])]

    def compile(self, batch: Batch) -> None:
        """Compile what is run; it takes 3 to 120 seconds for each size of chunk."""
        for start, stop in self.chunks:
            step = self._steps[stop - start]
            if isinstance(step, GraphModule):
                compile_searches(step)
                # What is compiled holds for one layout in memory: that of what runs.
                inputs = self._inputs(batch, start, stop)
                self._steps[stop - start] = compile_graph(step, inputs)

    def _inputs(self, batch: Batch, start: int, stop: int) -> list[Tensor]:
        """Of the tasks from start to stop; the whole batch as it is, in whatever layout."""
        return (batch if len(self.chunks) == 1 else batch.part(start, stop)).tensors()

    def _choose(self, batch: Batch, d_phi: int) -> int:
        tasks = batch.tasks
        of_one = d_phi + sum(x.numel() for x in tasks.select(torch.arange(1)).tensors())
        if tasks.num_tasks == 1 or is_small(tasks.num_tasks * of_one):
            return tasks.num_tasks
        one = self._graph(1, batch)
        if tasks.device.type == "cpu" and most_groups(one) < most_groups(self._graph(2, batch)):
            return 1
        return fitting(one, tasks.device)

    def _graph(self, size: int, batch: Batch) -> GraphModule:
        if size not in self._graphs:
            function = value_and_gradient(self._loss_of(size), self._count)
            graph = capture(function, batch.part(0, size).tensors())
            self._graphs[size] = without_repeats(graph)
        return self._graphs[size]
