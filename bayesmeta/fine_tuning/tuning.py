"""Fine-tuning: an optimiser moves some of each task's phi, stage by stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from textwrap import shorten

import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.capturing.capture import capture, fold_constants, value_and_gradient
from bayesmeta.data.selection import first_rows
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.fine_tuning.held_out import Best, splits_to_choose_by
from bayesmeta.fine_tuning.optimisers import Optimiser, Walker
from bayesmeta.fine_tuning.stages import Move, Stage
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean
from bayesmeta.nets.phi_layers import Layers
from bayesmeta.task_level.partial_density import PartialDensity
from bayesmeta.training import interrupt

_CHECKS = 20
# So long may the title of a progress bar be.
_TITLE = 24


@dataclass(frozen=True)
class Loss:
    """What is minimised for each task: minus its log density, over its datapoints.

        1/n_i (-log p(D_i | phi_i, theta) - log p(phi_i | theta))

    Attributes:
        density: the model's density.
        theta: unconstrained, (d_theta,).
        tasks: the support.
        with_prior: whether log p(phi_i | theta) counts.
    """

    density: Density
    theta: Tensor
    tasks: Tasks
    with_prior: bool

    def __call__(self, phi: Tensor, batch: Tasks) -> Tensor:
        """The loss at phi (tasks, d_phi), by some of the tasks' datapoints, (tasks,)."""
        if not self.with_prior:
            data = self.density.log_likelihood(self.theta, phi, batch)
            return -data / batch.sizes.clamp(min=1)
        terms = self.density.terms(self.theta, phi, batch, jacobian=False)
        prior = terms.phi / self.tasks.sizes.clamp(min=1)
        return -terms.data / batch.sizes.clamp(min=1) - prior

    def least_prior(self) -> Tensor:
        """The prior's part of the loss at the prior's mean, (tasks,): what no phi has less of."""
        if not self.with_prior:
            return torch.zeros(len(self.tasks), dtype=self.tasks.dtype, device=self.tasks.device)
        with torch.no_grad():
            mean = prior_mean(self.density, self.theta, self.tasks)
            terms = self.density.terms(self.theta, mean, self.tasks, jacobian=False)
        return -terms.phi / self.tasks.sizes.clamp(min=1)


class Tuner:
    """Fine-tuning of the phi of all tasks at once; each task's is its own.

    Args:
        loss: what is minimised.
        layers: of phi.
        optimiser: a class of torch.optim; of what is not elementwise (`is_elementwise`) a task at a
            time.
        batch_size: datapoints a step, or None for all.
        scored: datapoints of the same tasks by whose log score phi is chosen, or None.
        patience: scores without a better one after which a task's stage ends.
        noise: chooses batches.
        is_elementwise: whether the optimiser may see the tasks' numbers as one parameter.

    Attributes:
        trace: the loss of each task less the least of its prior's part, some twenty times a stage,
            each (tasks,).
        traces: whether it is kept.
    """

    def __init__(
        self,
        loss: Loss,
        layers: Layers,
        optimiser: Optimiser,
        batch_size: int | None,
        scored: Tasks | None,
        patience: int | None,
        noise: TaskNoise,
        *,
        is_elementwise: bool = True,
    ) -> None:
        self.loss, self.layers, self.optimiser = loss, layers, optimiser
        self.batch_size, self.scored, self.patience = batch_size, scored, patience
        self.noise, self.is_elementwise = noise, is_elementwise
        self.lost = torch.zeros(loss.tasks.num_tasks, dtype=torch.bool)
        self.trace: list[Tensor] = []
        self.traces = True
        # A density of many numbers is far from 0 even at its best: that much says nothing.
        self.least = loss.least_prior()

    def run(self, phi: Tensor, stages: Sequence[Stage], *, progress: bool) -> Tensor:
        """phi (tasks, d_phi) after all stages; after an interrupt, what was reached."""
        try:
            for number, stage in enumerate(stages):
                title = f"tuning {number + 1}/{len(stages)}"
                ways = stage.ways(self.layers)
                way = ways[0] if len(ways) == 1 else self._chosen(phi, ways, title, progress)
                phi = self._go(phi, way, title, progress)
        except _Interrupted as stopped:
            warnings.warn(
                f"fine-tuning was interrupted in stage {number + 1} of {len(stages)}; what was "
                "reached is kept",
                stacklevel=2,
            )
            phi = stopped.phi
        self._warn_of_lost()
        return phi

    def _go(self, phi: Tensor, way: Sequence[Move], title: str, progress: bool) -> Tensor:
        for move in way:
            phi = self._move(phi, move, f"{title} {move.title}", progress)
        return phi

    def _chosen(
        self, phi: Tensor, ways: Sequence[Sequence[Move]], title: str, progress: bool
    ) -> list[Move]:
        """Of several ways, of one move each, the one that is best on held-out data, task by task.

        They are those of the stage, or, where there are none, each datapoint in turn.
        """
        loss, last = self.loss, self.layers.blocks[-1]
        given = loss.density, loss.theta
        splits = splits_to_choose_by(*given, loss.tasks, self.scored, self.noise, last)
        scores = torch.zeros(len(ways), len(phi), dtype=phi.dtype, device=phi.device)
        for train, scored in splits:
            tuner = self._on(train)
            judge = Best(*given, scored, phi)
            for k, way in enumerate(ways):
                try:
                    scores[k] += judge.judge(tuner._go(phi, way, title, progress))
                except _Interrupted:
                    raise _Interrupted(phi) from None
        best = scores.nan_to_num(-torch.inf).argmax(0).cpu()
        names = [
            move.title + (f" ({n} of {len(best)} tasks)" if n < len(best) else "")
            for (move,), n in zip(ways, best.bincount(minlength=len(ways)).tolist(), strict=True)
            if n
        ]
        rate = torch.stack([move.rate for (move,) in ways])[best]
        return [ways[0][0]._replace(title=", ".join(names), rate=rate)]

    def _on(self, tasks: Tasks) -> Tuner:
        """The same, trained on other datapoints."""
        given = self.optimiser, self.batch_size, self.scored, self.patience, self.noise
        loss = replace(self.loss, tasks=tasks)
        tuner = Tuner(loss, self.layers, *given, is_elementwise=self.is_elementwise)
        tuner.traces = False
        return tuner

    def _move(self, phi: Tensor, move: Move, title: str, progress: bool) -> Tensor:
        rate = move.rate.to(phi).expand_as(phi)
        part = PartialDensity(self.loss.density, self.layers, (rate > 0).any(0), phi)
        rate, graph = part.of(rate), self._step(part)
        losses = self._losses(part) if self.traces else None
        best = Best(self.loss.density, self.loss.theta, self.scored, phi, self.patience)
        shapes = None if self.is_elementwise else list(self.layers.shapes_of(part.moves).values())
        walker = Walker(self.optimiser, part.of(phi), move.lr, shapes)
        every = max(1, move.steps // _CHECKS)
        # Of a longer title a terminal of 80 columns would cut the loss off.
        short = shorten(title, _TITLE, placeholder="...")
        with tqdm(total=move.steps, desc=short, disable=not progress) as bar:
            try:
                for k in range(move.steps):
                    before, data = walker.at, self._data()
                    with interrupt.whole():
                        value = walker.step(
                            lambda at, data=data: graph(at, *data)  # type: ignore[misc]
                        )
                        walker.put(self._kept(before.lerp(walker.at, rate), before))
                    bar.update()
                    if (k + 1) % every == 0 or k + 1 == move.steps:
                        if losses is not None:
                            self.trace.append(losses(walker.at)[0] - self.least)
                        bar.set_postfix(loss=f"{float(value / len(phi) - self.least.mean()):.4g}")
                        best.offer(part.whole(walker.at))
                        if best.is_over:
                            break
            except KeyboardInterrupt:
                best.offer(part.whole(walker.at))
                raise _Interrupted(best.phi) from None
        return best.phi

    def _step(self, part: PartialDensity) -> Callable[..., tuple[Tensor, Tensor]]:
        """The loss of all tasks together and its gradient, as a function of what moves and data.

        What does not depend on it, as the features that a frozen network makes of data which are
        all seen at each step, is computed here once.
        """

        def loss(some: Tensor, *data: Tensor) -> Tensor:
            given = self.loss.tasks.with_tensors(data) if data else self.loss.tasks
            return self.loss(part.whole(some), given).sum()

        with part.held():
            graph = capture(value_and_gradient(loss, 1), [part.of(part.base), *self._data()])
        fold_constants(graph)
        return graph

    def _losses(self, part: PartialDensity) -> Callable[..., tuple[Tensor]]:
        """The loss of each task by all it is trained on, (tasks,), as a function of what moves."""
        with part.held():
            graph = capture(
                lambda some: (self.loss(part.whole(some), self.loss.tasks),), [part.of(part.base)]
            )
        fold_constants(graph)
        return graph

    def _data(self) -> list[Tensor]:
        """What a step sees, where that is not all."""
        size = self.batch_size
        is_all = size is None or size >= self.loss.tasks.num_data
        return [] if is_all else self._batch().tensors()

    def _batch(self) -> Tasks:
        """Some datapoints of each task, chosen at random."""
        tasks, size = self.loss.tasks, self.batch_size
        assert size is not None
        order = self.noise.shuffled_rows(tasks.mask)
        return tasks.take_rows(*first_rows(order, 0, tasks.sizes.clamp(max=size), size))

    def _kept(self, at: Tensor, before: Tensor) -> Tensor:
        """Where to go on: a task whose phi is no number any more goes back to where it was."""
        gone = ~at.isfinite().all(1)
        self.lost |= gone.cpu()
        return torch.where(gone[:, None], before, at)

    def _warn_of_lost(self) -> None:
        names = [f"'{self.loss.tasks.names[i]}'" for i in self.lost.nonzero()[:, 0].tolist()]
        if names:
            warnings.warn(
                f"fine-tuning met a gradient that is no number in {len(names)} of "
                f"{len(self.lost)} tasks ({first_few(names)}), whose phi stays where that was, "
                "and may have gone astray on the way; take a smaller lr, or inputs scaled to unit "
                "variance",
                stacklevel=2,
            )


class _Interrupted(Exception):
    def __init__(self, phi: Tensor) -> None:
        self.phi = phi
