"""One training loop for everything that trains: batches, validation, checkpoints, progress."""

from __future__ import annotations

import math
import time
import warnings
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.data.tasks import Tasks
from bayesmeta.training import interrupt
from bayesmeta.training.adam import Adam, Schedule
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.objective import Objective, Trained
from bayesmeta.training.optimiser import Optimiser, Parameters
from bayesmeta.training.stepper import Batch, Noise, Stepper
from bayesmeta.training.store import Store

_WARM_UP = 20
_FEWEST_PROBES, _MOST_PROBES = 8, 64


class TrainingError(RuntimeError):
    """Training met a loss that is no number; the message says at which step and what to do."""


def train(
    objective: Objective, tasks: Tasks, *, batch_size: int | None, adam: Adam, options: FitOptions
) -> Trained:
    """Minimise the objective by Adam on batches of tasks.

    Only the batch's rows are read and written, so that a step costs the same for any number of
    tasks. An interrupt (Ctrl-C) ends training and keeps what was reached; with a checkpoint
    the same call then goes on from there, to the same bits as if it had not been interrupted. So it
    does after SIGTERM, which stores what was reached and ends the process. A disk that is full
    later than at the start ends nothing: a warning says of which step the checkpoint is.

    Raises:
        TrainingError: where the loss is NaN or infinite.
        CheckpointError: where the checkpoint is damaged, or of another run, or cannot be written
            before the first step.
    """
    return _Training(objective, tasks, batch_size, adam, options).finish()


class _Training:
    def __init__(
        self,
        objective: Objective,
        tasks: Tasks,
        batch_size: int | None,
        adam: Adam,
        options: FitOptions,
    ) -> None:
        self.objective, self.adam, self.options = objective, adam, options
        # Batches need no way back to a data frame, and take a while to keep it.
        self.tasks = replace(tasks, index=None)
        self.size = min(batch_size or tasks.num_tasks, tasks.num_tasks)
        self.whole = self.size == tasks.num_tasks
        self.optimiser = Optimiser(objective.start, adam, sparse=not self.whole)
        self.schedule = Schedule(adam)
        self.reached = Trained()
        self.stepper: Stepper | None = None
        self.store = Store(options, self.optimiser, self.schedule, self.reached)
        self.spent = 0.0

    def finish(self) -> Trained:
        """Train from where the checkpoint is to the end, or to an interrupt."""
        self.store.take_up()
        steps, done, silent = self.adam.steps, len(self.reached.losses), not self.options.progress
        with tqdm(total=steps, initial=done, desc=self.objective.title, disable=silent) as bar:
            try:
                with interrupt.before_the_end(self.store.save):
                    self._go_on(bar)
                was_interrupted = False
            except KeyboardInterrupt:
                was_interrupted = True
        self.store.save()
        if was_interrupted:
            self._say_interrupted()
        self._take_best()
        if self.objective.probed and not self.reached.interrupted:
            self._probe()
        return self.reached

    def _go_on(self, bar: tqdm) -> None:
        """The steps that are left."""
        done, losses = len(self.reached.losses), self.reached.losses
        generator = torch.Generator().manual_seed(self.options.seed)
        for step, index in enumerate(
            islice(self.tasks.batches(self.size, generator), self.adam.steps)
        ):
            # Training that goes on draws again what the steps before it drew.
            noise = self.objective.noise(self.size, generator)
            if step < done:
                continue
            if self.schedule.is_over(losses):
                break
            batch = self._batch(index, noise)
            stepper = self._ready(batch)
            with interrupt.whole():
                self._step(stepper, batch, index)
                self._look_around()
            self._show(bar)

    def _probe(self) -> None:
        """The slopes of some more batches, at which nothing moves any more."""
        generator = torch.Generator().manual_seed(self.options.seed + 1)
        count = min(_MOST_PROBES, max(_FEWEST_PROBES, len(self.reached.losses) // 20))
        found = []
        for index in islice(self.tasks.batches(self.size, generator), count):
            batch = self._batch(index, self.objective.noise(self.size, generator))
            stepper = self.stepper or self._ready(batch)
            found.append(stepper(batch)[1][: self.objective.probed])
        self.reached.slopes = [torch.stack(x) for x in zip(*found, strict=True)]

    def _take_best(self) -> None:
        """Go back to the parameters of the best validation, where there was one."""
        if self.reached.best:
            with torch.no_grad():
                for now, best in zip(self.objective.start.shared, self.reached.best, strict=True):
                    now.copy_(best)

    def _batch(self, index: Tensor, noise: Noise) -> Batch:
        start = self.objective.start
        return Batch(
            Parameters(start.shared, [r if self.whole else r[index] for r in start.rows]),
            noise,
            self.tasks if self.whole else self.tasks.select(index),
        )

    def _step(self, stepper: Stepper, batch: Batch, index: Tensor) -> None:
        losses = self.reached.losses
        began = time.perf_counter()
        try:
            value, gradients = stepper(batch)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise TrainingError(_about_matrix(error, len(losses) + 1, self.adam)) from error
        losses.append(float(value))
        _check(losses, self.adam, self.objective.inner_lr)
        self.optimiser.step(gradients, index, self.schedule.rate(losses))
        self.spent += time.perf_counter() - began

    def _ready(self, batch: Batch) -> Stepper:
        """The stepper, compiled where that was asked for or pays."""
        adam, reached = self.adam, self.reached
        if self.stepper is None:
            self.stepper = Stepper(
                self.objective.loss_of, batch, self.objective.d_phi, adam.chunk_size
            )
            if reached.compiled:
                self.stepper.compile(batch)
        elif len(reached.losses) == _WARM_UP:
            # A cold compile takes 10 to 120 seconds and makes a step 1.5 to several times faster.
            pays = self.spent / _WARM_UP * (adam.steps - _WARM_UP) > 90
            reached.compiled = bool(adam.compile or (adam.compile is None and pays))
            if reached.compiled:
                self.stepper.compile(batch)
        return self.stepper

    def _look_around(self) -> None:
        """Score the validation tasks and save, each when it is time to."""
        reached, done = self.reached, len(self.reached.losses)
        every = max(1, self.adam.steps // self.adam.validations)
        over = self.schedule.is_over(reached.losses)
        if self.objective.held_out is not None and (done % every == 0 or over):
            loss = self.objective.held_out(self.objective.start.shared)
            if not reached.best or loss < min(old for _, old in reached.validation):
                reached.best = [x.detach().clone() for x in self.objective.start.shared]
            reached.validation.append((done, loss))
        self.store.save_now_and_then()

    def _show(self, bar: tqdm) -> None:
        bar.update()
        losses, validation = self.reached.losses, self.reached.validation
        if len(losses) % 50 == 0:
            shown = {"loss": sum(losses[-50:]) / 50}
            shown |= {"validation": validation[-1][1]} if validation else {}
            bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})

    def _say_interrupted(self) -> None:
        where, done = self.options.checkpoint, len(self.reached.losses)
        goes_on = ""
        if where is not None and self.store.steps == done:
            goes_on = f"; the same call goes on from there, by {where}"
        where_to = f"interrupted at step {done} of {self.adam.steps}"
        self.reached.interrupted = (where_to,)
        warnings.warn(f"{where_to}; what was reached is kept{goes_on}", stacklevel=2)


def _about_matrix(error: Exception, step: int, adam: Adam) -> str:
    return (
        f"a matrix that should be positive definite is not, or holds NaN, at step {step} "
        f"({error}); try a smaller lr (it is {adam.lr}), tighter priors, inputs scaled to unit "
        "variance, or float64 data"
    )


def _check(losses: list[float], adam: Adam, inner_lr: float | None) -> None:
    if not math.isfinite(losses[-1]):
        before = f"the loss before was {losses[-2]:.6g}" if len(losses) > 1 else "it is the first"
        inner = "" if inner_lr is None else f", a smaller lr in phi= (it is {inner_lr})"
        first = "look for outcomes that the model cannot give, as a count above its total, or "
        raise TrainingError(
            f"the loss is {losses[-1]} at step {len(losses)} ({before}); "
            f"{first if len(losses) == 1 else ''}try a smaller lr (it is {adam.lr}){inner}, "
            "tighter priors, inputs scaled to unit variance, or float64 data"
        )
