"""FineTune: phi is what an optimiser reaches from theta, layer by layer as its stages say."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from bayesmeta.data.arguments import check_number, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.fine_tuning.held_out import hold_out, splits_to_choose_by, warn_of_none_held_out
from bayesmeta.fine_tuning.optimisers import check_takes, is_elementwise
from bayesmeta.fine_tuning.stages import Full, Probe, Stage
from bayesmeta.fine_tuning.tuning import Loss, Tuner
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean, theta_start
from bayesmeta.nets.phi_layers import Layers, read_layers
from bayesmeta.phi.base import Phi, tell
from bayesmeta.running.isolation import isolated, undisturbed

_WITHOUT = "these are trained on with all they have, and phi is where the steps end"


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

    The loss on the way is `posterior.phi_stats["loss"]`, (chain, draw, tasks, checks): minus the
    log density a datapoint, but for the least that its prior can be, over all data trained on, at
    some twenty steps of each stage.

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
        optimiser: a class of torch.optim, or a function of (parameters, lr=...). It gets a task's
            parameters in their own shapes, as (out, in), and nothing of other tasks, and where it
            takes a closure, as LBFGS, it gets one. One that is elementwise (Adam, SGD and most
            others), which is tried, moves all tasks at once, which is quicker; Adafactor, Muon and
            LBFGS go task by task. What it refuses, as Muon biases, is named before the start.
        batch_size: datapoints a step; None takes all.
        held_out: the share of each task's datapoints that are not trained on but scored, twenty
            times a stage; phi is what scores best. Of outcomes that are classes it is that share
            of each class, whose last datapoint stays in training. A task that has none to spare is
            named in a warning, and trained on with all it has, as one is of which the share is
            below half a datapoint.
        patience: scores of a task without a better one after which its stage ends.
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
        """Refuse names of layers that phi does not have, and an optimiser that does not take them.

        Raises:
            StructureError: naming the layer, or the task that has no data to choose a block by.
        """
        theta = theta_start(density, tasks)
        layers = self._layers(density, theta, tasks)
        self._check_optimiser(layers)
        noise = TaskNoise(torch.Generator(), tasks)
        scored = hold_out(density, theta, tasks, self.held_out, noise)[1]
        if any(len(stage.ways(layers)) > 1 for stage in self.stages):
            splits_to_choose_by(density, theta, tasks, scored, noise, layers.blocks[-1])
        elif scored is not None:
            warn_of_none_held_out(tasks, scored.sizes, self.held_out, _WITHOUT)
        if self.fresh is not None:
            layers.redraw(self.fresh, torch.zeros(1, density.d_phi))
        if len(layers.blocks) == 1 and any(isinstance(stage, Probe) for stage in self.stages):
            warnings.warn(
                f"phi has a single layer, '{layers.blocks[0]}', so that bm.Probe() moves all of "
                "it; a network's layers are known where it is called with the site itself, "
                "net(phi, x)",
                stacklevel=2,
            )

    def _check_optimiser(self, layers: Layers) -> None:
        moves = [move for stage in self.stages for way in stage.ways(layers) for move in way]
        if is_elementwise(self.optimiser):
            return
        for move in moves:
            shapes, at_one_rate = layers.shapes_of(move.rate > 0), bool((move.rate % 1 == 0).all())
            check_takes(self.optimiser, shapes, move.lr, at_one_rate=at_one_rate)

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
        found = [self._reach(density, point, tasks, generator) for point in theta]
        tell("loss", torch.stack(_widened([trace for _, trace in found])))
        return torch.stack([phi for phi, _ in found])

    def _reach(
        self, density: Density, theta: Tensor, tasks: Tasks, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """phi (tasks, d_phi) after all stages, and the losses on the way, (tasks, checks)."""
        seed = int(torch.randint(2**31, (), generator=generator, device="cpu"))
        noise, elementwise = TaskNoise(generator, tasks), is_elementwise(self.optimiser)
        chunks = tasks.chunks(density.d_phi) if elementwise else torch.arange(len(tasks)).split(1)
        reached, traces, sizes = [], [], []
        for chunk in chunks:
            given = tasks.select(chunk)
            tuner = self._tuner(density, theta, given, noise.select(chunk), elementwise=elementwise)
            start = self._start(density, theta, given, tuner.layers, seed)
            with isolated(seed):
                reached.append(tuner.run(start, self.stages, progress=self.progress))
            traces.append(torch.stack([start.new_empty(len(start)), *tuner.trace], 1)[:, 1:])
            sizes.append(given.sizes if tuner.scored is None else tuner.scored.sizes)
        if self.held_out and len(tasks.sample()) < len(tasks):
            # Of so many `check` has seen some.
            warn_of_none_held_out(tasks, torch.cat(sizes), self.held_out, _WITHOUT)
        return torch.cat(reached), torch.cat(_widened(traces))

    def _tuner(
        self, density: Density, theta: Tensor, tasks: Tasks, noise: TaskNoise, *, elementwise: bool
    ) -> Tuner:
        train, scored = hold_out(density, theta, tasks, self.held_out, noise)
        return Tuner(
            Loss(density, theta, train, self.with_prior),
            self._layers(density, theta, tasks),
            self.optimiser,
            self.batch_size,
            scored,
            self.patience,
            noise,
            is_elementwise=elementwise,
        )

    @undisturbed()
    def summary(self, posterior: Tuned) -> str:
        """What is trained, stage by stage, with how many numbers of how many.

        adapted = post.adapt(target, phi=tuning)
        print(tuning.summary(adapted))
        """
        density, tasks = posterior.density, posterior.tasks
        layers = self._layers(density, posterior.fit.theta[0, 0], tasks)
        moves = [
            f"{type(stage).__name__}: {move.title}; {int((move.rate > 0).sum()):,} of "
            f"{layers.d_phi:,} numbers, {move.steps} steps, lr {move.lr:g}"
            for stage in self.stages
            for way in stage.ways(layers)
            for move in way
        ]
        return "\n".join([*moves, *_about_frozen(layers)])

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


def _about_frozen(layers: Layers) -> list[str]:
    """What requires_grad=False holds, which is no part of phi."""
    return [
        f"Frozen by requires_grad=False, and no part of '{site}': {sum(net.frozen.values()):,} "
        f"numbers, of {first_few(list(net.frozen))}"
        for site, net in layers.nets.items()
        if net.frozen
    ]


def _widened(traces: Sequence[Tensor]) -> list[Tensor]:
    """Traces (tasks, checks) brought to one length by NaN: some ended before others."""
    most = max((trace.shape[1] for trace in traces), default=0)
    return [pad(trace, (0, most - trace.shape[1]), value=torch.nan) for trace in traces]
