"""Refine: more work on the tasks for which one pass of an amortised network is not enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.amortisation.guides import Anchor, Delta
from bayesmeta.amortisation.weighted_draws import Candidates, mixed, picked_of
from bayesmeta.capturing.capture import capture, over_draws, value_and_gradient
from bayesmeta.data.arguments import check_number, check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import seeds
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density, log_normal
from bayesmeta.phi.amortised import Amortised
from bayesmeta.phi.base import Phi
from bayesmeta.phi.hmc import HMC
from bayesmeta.task_level.corrected_draws import candidate_noise, log_mixture
from bayesmeta.task_level.curvature import log_density
from bayesmeta.task_level.importance import TRUSTED_K, pareto_k, without_nan
from bayesmeta.task_level.scored_density import by_scores
from bayesmeta.theta.base import Fit

_NUMBERS_AT_ONCE = 100_000
# Of `_Target.weigh`, before the data.
_INPUTS = 8


@dataclass(frozen=True)
class Refine:
    """From the network's q(phi_i | D_i, theta) on, task by task:

    1. `steps` of variational inference on a correction of each task's own to what the network says
       of it (Kim et al. 2018), the same at all theta;
    2. each draw picked among `candidates` by importance weights p(phi, D_i | theta) / q(phi)
       (Rubin 1987), half of them by wider tails than q's, so that moments and predictions are
       corrected;
    3. the tasks whose weights have a Pareto k above `above` once more by `rerun`, whose chains, of
       HMC, begin at these draws, every other one, where they are possible and not at a mode that
       has next to no mass beside the one that is found without them.

    `posterior.phi_stats` has each task's "pareto_k" after the second step, and whether it was a
    reason to "rerun" it, (chain, draw, tasks); the notes name those.

    Attributes:
        steps: of Adam, all tasks at once; 0 leaves q as it is.
        lr: of Adam, in the units of the network's numbers.
        particles: draws of (theta, phi) a step.
        candidates: for each draw; 1 leaves draws as they are.
        above: the largest k that is trusted (Vehtari et al. 2024).
        rerun: what infers phi of the tasks that are not; None leaves them, and `diagnose` says so.
    """

    steps: int = 200
    lr: float = 0.02
    particles: int = 8
    candidates: int = 8
    above: float = TRUSTED_K
    rerun: Phi | None = field(default_factory=HMC)

    def __post_init__(self) -> None:
        if not isinstance(self.rerun, Phi | None):
            raise TypeError(f"Refine got rerun={self.rerun!r}; give a strategy, as bm.HMC()")
        check_wholes(self, "steps", least=0)
        check_wholes(self, "particles", "candidates")
        check_number(self, "lr", self.lr, above=0)
        check_number(self, "above", self.above)


def check_refinable(how: Refine, strategy: Phi) -> None:
    """Refuse what is no Refine, and a strategy without a q to start from.

    Raises:
        TypeError: naming what was given.
    """
    if not isinstance(how, Refine):
        raise TypeError(f"refine={how!r} was given; give bm.Refine()")
    if not isinstance(strategy, Amortised) or isinstance(strategy.guide, Delta):
        raise TypeError(
            f"what is refined is the q of an amortised phi, but phi={strategy!r} has none; adapt "
            "without refine=, as with phi=bm.HMC()"
        )


def refined(how: Refine, strategy: Phi, fit: Fit, seed: int, *, is_point: bool) -> Fit:
    """The fit with draws of phi for each draw of theta, their log weights, and which way was taken.

    Tasks that were run again have NaN as log weights: their draws are of no q.
    """
    assert isinstance(strategy, Amortised)
    first, second = seeds(seed, 2)
    density, tasks, theta = fit.density, fit.tasks, fit.theta.flatten(0, 1)
    found = [
        _of_chunk(
            how,
            strategy,
            density,
            theta,
            tasks.select(chunk),
            first,
            fit.state,
            is_point=is_point and how.candidates > 1,
        )
        for chunk in tasks.chunks(how.candidates * density.d_phi)
    ]
    phi, log_weights = (torch.cat(x, 1) for x in zip(*found, strict=True))
    k = pareto_k(log_weights)
    bad = (~(k <= how.above)).nonzero()[:, 0]
    note = f"refined: Pareto k is above {how.above} in {len(bad)} of {len(tasks)} tasks"
    if len(bad) and how.rerun is not None:
        again = tasks.select(bad)
        generator = torch.Generator().manual_seed(second)
        phi[:, bad] = how.rerun.infer_from(
            phi[:, bad], density, theta, again, generator, is_point=is_point
        )
        log_weights[:, bad] = torch.nan
        which = first_few([f"'{tasks.names[i]}' (k {k[i]:.2f})" for i in bad.tolist()])
        note += f"; {len(bad)} run again by phi=bm.{how.rerun!r}: {which}"
    lead = fit.theta.shape[:2]
    rerun = torch.zeros(len(tasks), dtype=torch.bool)
    rerun[bad] = how.rerun is not None
    return replace(
        fit,
        phi=phi.unflatten(0, lead),
        log_weights=log_weights.unflatten(0, lead),
        told={name: x.expand(*lead, -1) for name, x in (("pareto_k", k), ("rerun", rerun))},
        notes=(note,),
    )


def _of_chunk(
    how: Refine,
    strategy: Amortised,
    density: Density,
    theta: Tensor,
    tasks: Tasks,
    seed: int,
    state: Sequence[Tensor],
    *,
    is_point: bool,
) -> tuple[Tensor, Tensor]:
    # Seeded anew, so that a task is treated alike in whichever chunk it is.
    generator = torch.Generator().manual_seed(seed)
    noise = TaskNoise(generator, tasks)
    target = _Target(strategy, density, tasks, theta, state)
    offset = torch.zeros_like(target.read[0][0])
    if how.steps:
        _train(how, target, offset, generator, noise)
    graph = capture(target.weigh, target.example(offset))
    found = [
        target.candidate(graph, k, how.candidates, offset, noise) for k in range(how.candidates)
    ]
    phi, log_weights = (torch.stack(x) for x in zip(*found, strict=True))
    weights = without_nan(log_weights)
    log_weights = mixed(weights)[: len(theta)]
    return picked_of(Candidates(phi, weights), noise, is_point=is_point), log_weights


def _train(
    how: Refine, target: _Target, offset: Tensor, generator: torch.Generator, noise: TaskNoise
) -> None:
    """Change the offset in place, (tasks, numbers)."""

    def slope(*inputs: Tensor) -> tuple[Tensor, ...]:
        *draw, moved = inputs[:_INPUTS]
        loss = value_and_gradient(
            lambda at: -target.weigh(*draw, at, *inputs[_INPUTS:])[1].sum(), 1
        )
        return loss(moved)[1:]

    graph = capture(slope, target.example(offset))
    optimiser = torch.optim.Adam([offset], how.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, how.steps)
    for _ in range(how.steps):
        which = torch.randint(
            len(target.theta), (how.particles,), generator=generator, device="cpu"
        )
        (gradient,) = target.over(graph, which, offset, target.noise(len(which), noise))
        offset.grad = gradient.mean(0)
        optimiser.step()
        schedule.step()


class _Target:
    """q and p(phi_i, D_i | theta) of some tasks at draws of theta.

    The network is run once for each theta, and once where all draws are the same.
    """

    def __init__(
        self,
        strategy: Amortised,
        density: Density,
        tasks: Tasks,
        theta: Tensor,
        state: Sequence[Tensor],
    ) -> None:
        self.scored, self.tasks, self.theta = by_scores(density, tasks), tasks, theta
        self.data = tasks.tensors()
        with torch.no_grad():
            self.q = strategy.posterior(density, theta[0], [tasks], state)

        def read(point: Tensor, *shared: Tensor) -> tuple[Tensor, ...]:
            given = tasks.with_tensors(shared[len(state) :])
            q = strategy.posterior(density, point, [given], shared[: len(state)])
            return q.numbers, *q.anchor, q.shift, q.scale

        points = theta[:1] if (theta == theta[:1]).all() else theta
        inputs = [*state, *self.data]
        found = over_draws(capture(read, [theta[0], *inputs]), [points], inputs)
        self.read = [x.expand(len(theta), *x.shape[1:]) for x in found]

    def weigh(
        self,
        point: Tensor,
        noise: Tensor,
        numbers: Tensor,
        mean: Tensor,
        sd: Tensor,
        shift: Tensor,
        scale: Tensor,
        offset: Tensor,
        *data: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """phi and its log weight by q with the offset, (tasks, d_phi) and (tasks,)."""
        anchor = Anchor(mean, sd)
        q = replace(self.q, numbers=numbers + offset, anchor=anchor, shift=shift, scale=scale)
        z, tasks = q.draw(noise[None]), self.tasks.with_tensors(data)
        joint = log_density(self.scored, point, z[0], [tasks], jacobian=True)
        # Held, so that the gradient of its mean has no noise where q is the posterior.
        phi = self.scored.unconstrained(point, z[0], tasks)
        return phi, joint - q.held().log_prob(z)[0]

    def example(self, offset: Tensor) -> list[Tensor]:
        """Inputs of `weigh`."""
        read = [x[0] for x in self.read]
        return [self.theta[0], torch.zeros_like(read[1]), *read, offset, *self.data]

    def noise(self, draws: int, noise: TaskNoise) -> Tensor:
        """Standard normal, (draws, tasks, d_phi)."""
        return noise.normal((draws, *self.read[1].shape[1:]), self.theta.dtype)

    def candidate(
        self, graph: GraphModule, k: int, count: int, offset: Tensor, noise: TaskNoise
    ) -> tuple[Tensor, Tensor]:
        """phi for each draw of theta, and log weights: of several candidates half have wide tails.

        A q that was fitted by itself is narrow, and would see nothing of what it leaves out.
        """
        shape = (len(self.theta), *self.read[1].shape[1:])
        x = candidate_noise(k, shape, self.theta.dtype, noise)
        phi, log_weights = self.over(graph, torch.arange(len(self.theta)), offset, x)
        if count > 1:
            log_weights = log_weights + log_normal(x, 2) - log_mixture(x, shape[-1])
        return phi, log_weights

    def over(
        self, graph: GraphModule, which: Tensor, offset: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        """A graph of `weigh`'s inputs at some draws of theta, with noise (draws, tasks, d_phi)."""
        draws = [self.theta[which], noise, *(x[which] for x in self.read)]
        at_once = max(64, _NUMBERS_AT_ONCE // sum(x.numel() for x in self.data))
        return over_draws(graph, draws, [offset, *self.data], at_once)
