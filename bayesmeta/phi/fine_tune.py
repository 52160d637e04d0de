"""FineTune: phi is what an optimiser reaches from theta, layer by layer as its stages say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_number, check_whole
from bayesmeta.data.selection import first_rows
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.fine_tuning.stages import Full, Probe, Stage
from bayesmeta.fine_tuning.tuning import Loss, Tuner, slopes
from bayesmeta.model.density import Density
from bayesmeta.model.isolation import isolated, undisturbed
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.nets.phi_layers import Layers, read_layers
from bayesmeta.phi.base import Phi


class Tuned(Protocol):
    """What a posterior that was fine-tuned knows of where that began."""

    @property
    def density(self) -> Density:
        """The model's density."""

    @property
    def tasks(self) -> Tasks:
        """The target."""

    @property
    def fit(self) -> Any:
        """What holds theta, (chain, draw, d_theta)."""


@dataclass(frozen=True)
class FineTune(Phi):
    """A point estimate of phi_i by fine-tuning: from theta, some layers at a time.

        phi_i = argmin 1/n_i (-log p(D_i | phi_i, theta) - log p(phi_i | theta)), started at theta

    Transfer learning as inference: theta is what was pre-trained, and the prior that phi_i was
    given around it, as N(theta, tau^2), is L2-SP (Li, Grandvalet & Davoine 2018), with a tau for
    each layer if the model has one, fixed or learned from several source tasks. Steps that do not
    reach the minimum stay nearer to theta. The default is a linear probe followed by everything,
    which out of distribution beats either alone (Kumar et al. 2022).

    By `posterior.adapt(target, phi=bm.FineTune())` after any fit, or, for a network trained
    elsewhere, bm.fit(model, target, theta=bm.Fixed({"theta": weights}), phi=bm.FineTune()). It has
    no estimate of log p(D_i | theta), so that theta is not inferred by it.

    Attributes:
        stages: what moves, one after the other: Probe, Full, Gradual, Surgical.
        blocks: names of layers, from the input on, that together are all of phi; None takes each
            site, and of a site that is a network's weights each child of the module, in the order
            in which the module registers them.
        fresh: a layer, by name, that starts as in a new network instead of at theta. Its prior is
            still around theta, which for a last layer of other classes is no place to be: see
            `Net.carry`, which puts zeros there.
        with_prior: whether log p(phi_i | theta) is part of what is minimised.
        optimiser: a class of torch.optim, or a function of (parameters, lr=...).
        batch_size: datapoints a step; None takes all.
        held_out: the share of each task's datapoints that are not trained on but scored, twenty
            times a stage; phi is what scores best.
        patience: scores without a better one, in any task, after which a stage ends.
        progress: whether to show a progress bar.
    """

    stages: Sequence[Stage] = (Probe(), Full())
    blocks: Sequence[str] | None = None
    fresh: str | None = None
    with_prior: bool = True
    optimiser: Callable[..., torch.optim.Optimizer] = torch.optim.Adam
    batch_size: int | None = None
    held_out: float = 0.0
    patience: int | None = None
    progress: bool = field(default=True, compare=False, repr=False)

    has_evidence: ClassVar[bool] = False

    def __post_init__(self) -> None:
        listed = isinstance(self.stages, Sequence) and not isinstance(self.stages, str)
        if not listed or not all(isinstance(stage, Stage) for stage in self.stages):
            raise TypeError(
                f"FineTune got stages={self.stages!r}; give a list of stages, such as "
                "[bm.Probe(), bm.Full()], bm.Gradual() or bm.Surgical()"
            )
        if isinstance(self.optimiser, torch.optim.Optimizer) or not callable(self.optimiser):
            raise TypeError(
                f"FineTune got optimiser={self.optimiser!r}; give a class, such as "
                "torch.optim.AdamW, or a function of (parameters, lr=...)"
            )
        check_whole(self, "batch_size", self.batch_size, or_none=True)
        check_whole(self, "patience", self.patience, or_none=True)
        check_number(self, "held_out", self.held_out, least=0, below=1)
        if isinstance(self.blocks, str):
            raise TypeError(f"FineTune got blocks={self.blocks!r}; give a sequence of names")
        if self.patience is not None and not self.held_out:
            raise ValueError(
                f"FineTune got held_out={self.held_out}, patience={self.patience}; patience needs "
                "a share of held-out datapoints above 0"
            )

    def silent(self) -> FineTune:
        """The same without a progress bar."""
        return replace(self, progress=False)

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse names of layers that phi does not have."""
        layers = self._layers(density, theta_start(density, tasks), tasks)
        nothing = torch.zeros(tasks.num_tasks, len(layers.blocks))
        for stage in self.stages:
            stage.ways(layers, lambda: nothing, scored=bool(self.held_out))
        if self.fresh is not None:
            layers.redraw(self.fresh, torch.zeros(1, density.d_phi))
        if len(layers.blocks) == 1 and any(isinstance(stage, Probe) for stage in self.stages):
            warnings.warn(
                f"phi has a single layer, '{layers.blocks[0]}', so that bm.Probe() moves all of "
                "it; a network's layers are known where it is called with the site itself, "
                "net(phi, x)",
                stacklevel=2,
            )

    def infer(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        generator: torch.Generator,
        *,
        is_point: bool,
        state: Sequence[Tensor] = (),
    ) -> Tensor:
        """What fine-tuning reaches from each draw of theta."""
        return torch.stack([self._reach(density, point, tasks, generator) for point in theta])

    def _reach(
        self, density: Density, theta: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> Tensor:
        """phi (tasks, d_phi) after all stages."""
        seed = int(torch.randint(2**31, (), generator=generator, device="cpu"))
        noise = TaskNoise(generator, tasks)
        return torch.cat(
            [
                self._of_chunk(density, theta, tasks.select(chunk), noise.select(chunk), seed)
                for chunk in tasks.chunks(density.d_phi)
            ]
        )

    def _of_chunk(
        self, density: Density, theta: Tensor, tasks: Tasks, noise: TaskNoise, seed: int
    ) -> Tensor:
        train, scored = _hold_out(tasks, self.held_out, noise)
        layers = self._layers(density, theta, tasks)
        loss = Loss(density, theta, train, self.with_prior)
        tuner = Tuner(loss, layers, self.optimiser, self.batch_size, scored, self.patience, noise)
        start = self._start(density, theta, tasks, layers, seed)
        return tuner.run(start, self.stages, progress=self.progress)

    @undisturbed()
    def summary(self, posterior: Tuned) -> str:
        """What is trained, stage by stage, with how many numbers of how many.

        adapted = post.adapt(target, phi=tuning)
        print(tuning.summary(adapted))
        """
        density, tasks = posterior.density, posterior.tasks
        theta = posterior.fit.theta[0, 0]
        layers = self._layers(density, theta, tasks)
        phi = self._start(density, theta, tasks, layers, seed=0)
        loss = Loss(density, theta, tasks, self.with_prior)
        return "\n".join(
            f"{type(stage).__name__}: {move.title}; {int((move.rate > 0).sum(-1).max()):,} of "
            f"{layers.d_phi:,} numbers, {move.steps} steps, lr {move.lr:g}"
            for stage in self.stages
            for way in stage.ways(
                layers, partial(slopes, loss, layers, phi), scored=bool(self.held_out)
            )
            for move in way
        )

    def _layers(self, density: Density, theta: Tensor, tasks: Tasks) -> Layers:
        return read_layers(density, theta, tasks, self.blocks)

    def _start(
        self, density: Density, theta: Tensor, tasks: Tasks, layers: Layers, seed: int
    ) -> Tensor:
        phi = prior_mean(density, theta, tasks).detach()
        if self.fresh is None:
            return phi
        with isolated(seed):
            return layers.redraw(self.fresh, phi)


def _hold_out(tasks: Tasks, share: float, noise: TaskNoise) -> tuple[Tasks, Tasks | None]:
    """Each task's datapoints, less a random share of them, and that share."""
    if not share:
        return replace(tasks, query=None), None
    away = (share * tasks.sizes).round().long()
    order = noise.shuffled_rows(tasks.mask)
    left = tasks.sizes - away
    train = tasks.take_rows(*first_rows(order, 0, left, int(left.max().clamp(min=1))))
    # The rows that are held out stand last in each task's order, and so are found task by task.
    cell = torch.arange(max(1, int(away.max())), device=tasks.device)
    index = order.gather(1, (left[:, None] + cell).clamp(max=order.shape[1] - 1))
    return train, tasks.take_rows(index, cell < away[:, None])
