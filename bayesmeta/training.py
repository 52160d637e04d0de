"""One training loop for everything that trains: schedule, early stopping, history, progress."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule
from tqdm import tqdm

from bayesmeta.capture import capture, compile_graph, value_and_gradient
from bayesmeta.tasks import Tasks

Loss = Callable[..., Tensor]
Step = Callable[..., tuple[Tensor, ...]]
_WARM_UP = 20


class TrainingError(RuntimeError):
    """Training met a loss that is no number; the message says at which step and what to do."""


@dataclass(frozen=True)
class Adam:
    """How to train: Adam (Kingma & Ba 2015), a constant rate, then a cosine decay.

    Attributes:
        lr: the learning rate before the decay.
        steps: at most this many steps, decay included.
        decay: the last part of the steps, over which the rate falls to a thousandth of lr.
        patience: the decay starts early once the mean loss of this many steps is no lower than that
            of as many before, by their standard error; 0 never does.
        compile: whether to compile the step; None decides by what it would save.
    """

    lr: float = 0.02
    steps: int = 4000
    decay: float = 0.4
    patience: int = 300
    compile: bool | None = None

    def __post_init__(self) -> None:
        if self.lr <= 0 or self.steps < 1 or not 0 <= self.decay <= 1:
            raise ValueError(
                f"Adam got lr={self.lr}, steps={self.steps}, decay={self.decay}; lr must be "
                "positive, steps at least 1, and decay between 0 and 1"
            )


@dataclass(frozen=True)
class Parameters:
    """What is trained: `shared` tensors, and `rows` with one row a task, read batch by batch."""

    shared: list[Tensor]
    rows: list[Tensor]


def train(
    loss: Loss,
    start: Parameters,
    tasks: Tasks,
    *,
    batch_size: int | None,
    noise: Callable[[int, torch.Generator], list[Tensor]],
    adam: Adam,
    seed: int,
    progress: bool,
    title: str,
) -> tuple[Parameters, Tensor]:
    """Minimise loss(*shared, *rows of the batch, *noise, *data of the batch).

    Only the batch's rows are read and written, so that a step costs the same for any number of
    tasks. An interrupt (Ctrl-C) ends training and keeps what was reached.

    Returns:
        the trained parameters and the losses (steps,).

    Raises:
        TrainingError: where the loss is NaN or infinite.
    """
    generator = torch.Generator().manual_seed(seed)
    size = min(batch_size or tasks.num_tasks, tasks.num_tasks)
    whole = size == tasks.num_tasks
    updater = _Updater(start, adam, sparse=not whole)
    losses: list[float] = []
    with tqdm(total=adam.steps, desc=title, disable=not progress) as bar:
        step: Step | None = None
        schedule = _Schedule(adam)
        try:
            for index in _first(tasks.batches(size, generator), adam.steps):
                batch = tasks if whole else tasks.select(index)
                inputs = [
                    *start.shared,
                    *(r if whole else r[index] for r in start.rows),
                    *noise(size, generator),
                    *batch.tensors(),
                ]
                count = len(start.shared) + len(start.rows)
                if step is None:
                    step = capture(value_and_gradient(loss, count), inputs)
                    began = time.perf_counter()
                if len(losses) == _WARM_UP:
                    spent = (time.perf_counter() - began) / _WARM_UP
                    step = _maybe_compile(step, inputs, adam, spent)
                with torch.no_grad():
                    value, *gradients = step(*inputs)
                losses.append(float(value))
                _check(losses, adam)
                updater.step(gradients, index, schedule.rate(losses))
                bar.update()
                if len(losses) % 50 == 0:
                    bar.set_postfix(loss=f"{sum(losses[-50:]) / 50:.4g}")
                if schedule.is_over(losses):
                    break
        except KeyboardInterrupt:
            warnings.warn(
                f"interrupted at step {len(losses)} of {adam.steps}; what was reached is kept",
                stacklevel=2,
            )
    return start, torch.tensor(losses)


def _first(batches: Iterator[Tensor], count: int) -> Iterator[Tensor]:
    for _, index in zip(range(count), batches, strict=False):
        yield index


def _maybe_compile(step: Step, inputs: list[Tensor], adam: Adam, spent: float) -> Step:
    # A cold compile takes 10 to 60 seconds and makes a step several times faster.
    pays = spent * (adam.steps - _WARM_UP) > 90
    if isinstance(step, GraphModule) and (adam.compile or (adam.compile is None and pays)):
        return compile_graph(step, inputs)
    return step


def _check(losses: list[float], adam: Adam) -> None:
    if not math.isfinite(losses[-1]):
        before = f"the loss before was {losses[-2]:.6g}" if len(losses) > 1 else "it is the first"
        raise TrainingError(
            f"the loss is {losses[-1]} at step {len(losses)} ({before}); try a smaller lr (it is "
            f"{adam.lr}), tighter priors, inputs scaled to unit variance, or float64 data"
        )


class _Schedule:
    """A constant rate until the loss no longer falls, then a cosine decay."""

    def __init__(self, adam: Adam) -> None:
        self.adam = adam
        self.length = max(1, round(adam.decay * adam.steps))
        self.decay_from = adam.steps - self.length

    def rate(self, losses: Sequence[float]) -> float:
        done, patience = len(losses) - 1, self.adam.patience
        if patience and done < self.decay_from and done >= 2 * patience and done % 50 == 0:
            old = torch.tensor(losses[-2 * patience : -patience], dtype=torch.float64)
            new = torch.tensor(losses[-patience:], dtype=torch.float64)
            error = ((old.var() + new.var()) / patience).sqrt()
            if new.mean() >= old.mean() - error:
                self.decay_from = done
        share = min(max(done - self.decay_from, 0) / self.length, 1.0)
        return self.adam.lr * (1e-3 + (1 - 1e-3) * 0.5 * (1 + math.cos(math.pi * share)))

    def is_over(self, losses: Sequence[float]) -> bool:
        return len(losses) >= self.decay_from + self.length


class _Updater:
    """Adam on the shared parameters, and on the rows that a batch has."""

    def __init__(self, parameters: Parameters, adam: Adam, *, sparse: bool) -> None:
        self.parameters, self.sparse = parameters, sparse
        self.optimisers: list[torch.optim.Optimizer] = []
        if parameters.shared:
            self.optimisers.append(torch.optim.Adam(parameters.shared, adam.lr))
        if parameters.rows:
            kind = torch.optim.SparseAdam if sparse else torch.optim.Adam
            self.optimisers.append(kind(parameters.rows, adam.lr))

    def step(self, gradients: Sequence[Tensor], index: Tensor, rate: float) -> None:
        cut = len(self.parameters.shared)
        for parameter, gradient in zip(self.parameters.shared, gradients[:cut], strict=True):
            parameter.grad = gradient
        for parameter, gradient in zip(self.parameters.rows, gradients[cut:], strict=True):
            parameter.grad = (
                torch.sparse_coo_tensor(
                    index[None], gradient, parameter.shape, check_invariants=False
                )
                if self.sparse
                else gradient
            )
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate
            # The indices are ours and in range; saying so silences torch's warning.
            with torch.sparse.check_sparse_tensor_invariants(False):
                optimiser.step()
