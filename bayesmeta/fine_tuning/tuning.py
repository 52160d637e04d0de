"""Fine-tuning: an optimiser moves some of each task's phi, stage by stage."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from textwrap import shorten

import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.data.selection import first_rows
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.capture import capture, fold_constants, value_and_gradient
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.fine_tuning.stages import Move, Stage
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import score
from bayesmeta.model.prior import prior_mean
from bayesmeta.nets.phi_layers import Layers
from bayesmeta.task_level.partial_density import PartialDensity
from bayesmeta.training import interrupt

_CHECKS = 20
# So long may the title of a progress bar be.
_TITLE = 24
Optimiser = Callable[..., torch.optim.Optimizer]


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


def slopes(loss: Loss, layers: Layers, phi: Tensor) -> Tensor:
    """|d loss / d phi_block| / |phi_block| of each block, (tasks, blocks) (Lee et al. 2023)."""
    with torch.enable_grad():
        at = phi.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(at, loss.tasks).sum(), at)
    each = layers.each_block().to(phi)
    norm = (gradient.square() @ each.T).sqrt()
    return norm / (phi.detach().square() @ each.T).sqrt().clamp(min=1e-12)


class Tuner:
    """Fine-tuning of the phi of all tasks at once; each task's is its own.

    Args:
        loss: what is minimised.
        layers: of phi.
        optimiser: a class of torch.optim.
        batch_size: datapoints a step, or None for all.
        scored: datapoints of the same tasks by whose log score phi is chosen, or None.
        patience: scores without a better one after which a stage ends.
        noise: chooses batches.
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
    ) -> None:
        self.loss, self.layers, self.optimiser = loss, layers, optimiser
        self.batch_size, self.scored, self.patience = batch_size, scored, patience
        self.noise = noise
        self.lost = torch.zeros(loss.tasks.num_tasks, dtype=torch.bool)

    def run(self, phi: Tensor, stages: Sequence[Stage], *, progress: bool) -> Tensor:
        """phi (tasks, d_phi) after all stages; after an interrupt, what was reached."""
        try:
            for number, stage in enumerate(stages):
                choose = partial(slopes, self.loss, self.layers, phi)
                best = _Best(self.loss, self.scored, phi)
                for way in stage.ways(self.layers, choose, scored=self.scored is not None):
                    reached = phi
                    for move in way:
                        title = f"tuning {number + 1}/{len(stages)} {move.title}"
                        reached = self._move(reached, move, title, progress)
                    best.waits(reached)
                phi = best.choose(reached)
        except _Interrupted as stopped:
            warnings.warn(
                f"fine-tuning was interrupted in stage {number + 1} of {len(stages)}; what was "
                "reached is kept",
                stacklevel=2,
            )
            phi = stopped.phi
        self._warn_of_lost()
        return phi

    def _move(self, phi: Tensor, move: Move, title: str, progress: bool) -> Tensor:
        rate = move.rate.to(phi).expand_as(phi)
        part = PartialDensity(self.loss.density, self.layers, (rate > 0).any(0), phi)
        rate, step = part.of(rate), self._step(part)
        # A density of many numbers is far from 0 even at its best: that much says nothing.
        least = float(self.loss.least_prior().sum())
        best = _Best(self.loss, self.scored, phi)
        at = torch.nn.Parameter(part.of(phi).clone())
        optimiser = self.optimiser([at], lr=move.lr)
        every = max(1, move.steps // _CHECKS)
        # Of a longer title a terminal of 80 columns would cut the loss off.
        short = shorten(title, _TITLE, placeholder="...")
        with tqdm(total=move.steps, desc=short, disable=not progress) as bar, torch.no_grad():
            try:
                for k in range(move.steps):
                    value, at.grad = step(at)
                    before = at.detach().clone()
                    with interrupt.whole():
                        optimiser.step()
                        at.lerp_(before, 1 - rate)
                        self._keep_finite(at, before)
                    bar.update()
                    if (k + 1) % every == 0 or k + 1 == move.steps:
                        bar.set_postfix(loss=f"{(float(value) - least) / len(at):.4g}")
                        if best.waits(part.whole(at)) >= (self.patience or move.steps):
                            break
            except KeyboardInterrupt:
                raise _Interrupted(best.choose(part.whole(at))) from None
        return best.choose(part.whole(at))

    def _step(self, part: PartialDensity) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """The loss of all tasks together and its gradient, as a function of what moves.

        What does not depend on it, as the features that a frozen network makes of data which are
        all seen at each step, is computed here once.
        """
        tasks, size = self.loss.tasks, self.batch_size

        def loss(some: Tensor, *data: Tensor) -> Tensor:
            given = tasks.with_tensors(data) if data else tasks
            return self.loss(part.whole(some), given).sum()

        whole = size is None or size >= tasks.num_data
        first = [] if whole else self._batch().tensors()
        with part.held():
            inputs = [part.of(part.base), *first]
            graph = capture(value_and_gradient(loss, 1), inputs)
        fold_constants(graph)
        if whole:
            return graph
        return lambda some: graph(some, *self._batch().tensors())

    def _batch(self) -> Tasks:
        """Some datapoints of each task, chosen at random."""
        tasks, size = self.loss.tasks, self.batch_size
        assert size is not None
        order = self.noise.shuffled_rows(tasks.mask)
        return tasks.take_rows(*first_rows(order, 0, tasks.sizes.clamp(max=size), size))

    def _keep_finite(self, at: Tensor, before: Tensor) -> None:
        """A task whose phi is no number any more goes back to where it was."""
        gone = ~at.isfinite().all(1)
        if gone.any():
            at[gone] = before[gone]
            self.lost |= gone.cpu()

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


class _Best:
    """For each task the phi that scores best on held-out data, or without them the last."""

    def __init__(self, loss: Loss, scored: Tasks | None, phi: Tensor) -> None:
        self.loss, self.scored, self.phi = loss, scored, phi.clone()
        self.score = None if scored is None else self._score(phi)
        self.waited = 0

    def waits(self, phi: Tensor) -> int:
        """Score phi; how many times in a row no task's score has become better."""
        if self.score is None:
            return -1
        score = self._score(phi)
        better = score > self.score
        self.score = torch.where(better, score, self.score)
        self.phi = torch.where(better[:, None], phi.detach(), self.phi)
        self.waited = 0 if better.any() else self.waited + 1
        return self.waited

    def choose(self, phi: Tensor) -> Tensor:
        """The best, or the one given where nothing was scored."""
        return phi.detach().clone() if self.score is None else self.phi

    def _score(self, phi: Tensor) -> Tensor:
        assert self.scored is not None
        with torch.no_grad():
            return score(self.loss.density, self.loss.theta, phi, self.scored)
