"""Gaussian: variational inference, the Gaussian closest to the posterior, unconstrained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.data.arguments import check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import normal, seeds
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_start
from bayesmeta.phi.base import Phi
from bayesmeta.running.isolation import at_dtype
from bayesmeta.theta.base import Fit, Theta
from bayesmeta.theta.convergence import doubts_about_gaussian
from bayesmeta.theta.families import Family, FullRank
from bayesmeta.theta.levels import check_training, d_free, held_out, holds_at_draws, level_terms
from bayesmeta.theta.noncentring import check_names, noncentre
from bayesmeta.theta.pilot import find_pilot
from bayesmeta.theta.units import InUnits, in_units
from bayesmeta.training.adam import Adam
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.loop import train
from bayesmeta.training.objective import Objective
from bayesmeta.training.optimiser import Parameters
from bayesmeta.training.stepper import Loss, Noise

# Where a covariance of theta is no longer looked at.
_MOST_PROBED = 1000


@dataclass(frozen=True)
class Gaussian(Theta):
    """Maximise the ELBO over Gaussians q (Kucukelbir et al. 2017):

        E_q[log p(theta) - log q(theta) + sum_i log p(phi_i, D_i | theta) - log q(phi_i | theta)]

    by reparameterised gradients that vanish where q is the posterior (Roeder, Wu & Duvenaud 2017).
    A minibatch of B tasks out of I stands for all with the weight I / B.

    Attributes:
        family: MeanField(), FullRank() (the default) or LowRank(rank).
        batch_size: tasks a step; None takes all, or where a network infers phi 256.
        particles: draws of q a step.
        draws: draws of the fitted q that the posterior holds.
        noncentred: location-scale sites to treat as loc + scale * u, which a Gaussian fits
            better where the data say little of phi; None chooses, and says why in the posterior's
            notes; () centres all.
        adam: how to train, in posterior standard deviations where a pilot finds them; None is
            bm.Adam(), and half of its steps with a pilot.
    """

    family: Family = field(default_factory=FullRank)
    batch_size: int | None = None
    particles: int = 8
    draws: int = 2000
    noncentred: tuple[str, ...] | None = None
    adam: Adam | None = None

    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.family, Family):
            raise TypeError(
                f"Gaussian got family={self.family!r}; give bm.MeanField(), bm.FullRank() or "
                "bm.LowRank(rank)"
            )
        check_training(self, self.batch_size, self.adam)
        check_wholes(self, "particles", "draws")
        check_names(self.noncentred)

    @property
    def label(self) -> str:
        """With the family, as "Gaussian(MeanField)": they differ in what they cannot hold."""
        return f"Gaussian({repr(self.family).removesuffix('()')})"

    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """Train q, then draw from it."""
        seed_pilot, seed_train = seeds(options.seed, 2)
        pilot = find_pilot(density, tasks, phi, seed_pilot)
        given = self.noncentred, density, tasks, phi, seed_pilot, pilot
        density, notes, pilot = noncentre(*given)
        family, adam = self.family, self.adam or Adam()
        if pilot is not None:
            # It starts within a fraction of a standard deviation of where it ends.
            adam = self.adam or Adam(steps=1200, patience=120)
            density = density.starting_at(pilot.theta, pilot.sd)
            family = in_units(family, density, tasks, pilot, d_free(density, phi, tasks))
        training = replace(self, family=family, adam=adam)
        options = replace(options, seed=seed_train)
        found = training._train_short(density, tasks, phi, options)
        found = found or training._train(density, tasks, phi, options)
        return replace(found, notes=(*notes, *found.notes))

    def _train_short(
        self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions
    ) -> Fit | None:
        """On a few datapoints of each task, where they tell all; else None."""
        # What is kept on the way is of all data, as training on them would go on from it.
        asked = self.batch_size, options.validation, options.checkpoint
        if any(given is not None for given in asked):
            return None
        tasks = tasks.to(dtype=torch.float64)
        short = phi.shortened(density, tasks)
        if short is None:
            return None
        less, by, few = short
        family = self.family
        if isinstance(family, InUnits):
            family = family.to(few.dtype)
        found = replace(self, family=family)._train(less, few, by, options)
        if not holds_at_draws(found, density, tasks):
            return None
        return replace(found, density=density, tasks=tasks)

    def _train(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        seed_train, seed_draw = seeds(options.seed, 2)
        shared, rows = self._start(density, tasks, d_free(density, phi, tasks))
        state, n_shared = phi.start(density, tasks, seed_train), len(shared)
        start = Parameters([*shared, *state], rows)
        objective = Objective(
            start,
            loss_of=lambda size: self._loss(density, tasks, phi, size, state, n_shared, len(rows)),
            noise=lambda size, random: self._noise(density, phi, size, tasks, random),
            held_out=held_out(
                density, phi, options, lambda given: self._mean(given, density, tasks)
            ),
            d_phi=density.width(tasks),
            inner_lr=phi.inner_lr,
            probed=2 if 0 < density.d_theta <= _MOST_PROBED else 0,
            title="variational",
        )
        assert self.adam is not None
        training = replace(options, seed=seed_train)
        size = self.batch_size or phi.tasks_a_step
        done = train(objective, tasks, batch_size=size, adam=self.adam, options=training)
        family = Parameters(start.shared[:n_shared], start.rows)
        theta, found, log_theta, log_phi = self._sample(
            density, family, tasks, d_free(density, phi, tasks), seed_draw
        )
        weights, doubts = None, None
        if phi.is_joint:
            weights = self._log_weights(density, phi, tasks, theta, found, log_phi)[None]
        if done.slopes:
            # The loss is a mean over tasks, and falls where the ELBO rises.
            slopes = [-tasks.num_tasks * x for x in done.slopes]
            doubts = doubts_about_gaussian(self.family, family.shared, slopes, density)
        return Fit(
            density,
            tasks,
            theta[None],
            found[None] if phi.is_joint else None,
            state=tuple(start.shared[n_shared:]),
            losses=torch.tensor(done.losses),
            validation=torch.tensor(done.validation).reshape(-1, 2),
            log_weights=weights,
            log_q=log_theta[None],
            notes=done.notes,
            doubts=doubts,
        )

    def _start(
        self, density: Density, tasks: Tasks, free: int
    ) -> tuple[list[Tensor], list[Tensor]]:
        with at_dtype(tasks.dtype):
            shared, rows = self.family.start(density.d_theta, tasks.num_tasks, free)
        if not isinstance(self.family, InUnits):
            # The mean of theta: for a network 0 is a saddle, from which no gradient leads away.
            shared[0] = theta_start(density, tasks)
        return shared, rows

    def _log_weights(
        self,
        density: Density,
        phi: Phi,
        tasks: Tasks,
        theta: Tensor,
        found: Tensor,
        log_q: Tensor,
    ) -> Tensor:
        """log p(phi_i, D_i | theta) - log q(phi_i | theta) at each draw, (draws, tasks)."""
        data = tasks.tensors()
        terms = level_terms(density, phi, tasks, jacobian=True)
        graph = capture(terms, [theta[0], found[0], *data])
        return over_draws(graph, [theta, found], data)[1] - log_q

    def _noise(
        self, density: Density, strategy: Phi, size: int, tasks: Tasks, generator: torch.Generator
    ) -> Noise:
        shapes = (
            (self.family.noise_theta(density.d_theta),),
            (size, d_free(density, strategy, tasks)),
        )
        theta, phi = (normal((self.particles, *shape), tasks.dtype, generator) for shape in shapes)
        return Noise([theta], [phi, *strategy.noise(density, size, tasks.dtype, generator)])

    def _mean(self, shared: Sequence[Tensor], density: Density, tasks: Tasks) -> Tensor:
        """The mean of q(theta)."""
        zero = torch.zeros(self.family.noise_theta(density.d_theta), dtype=tasks.dtype)
        rows = self.family.start(density.d_theta, 0, 0)[1]
        return self.family.draw(list(shared), rows, zero, zero.new_empty(0, 0))[0]

    def _loss(
        self,
        density: Density,
        tasks: Tasks,
        phi: Phi,
        size: int,
        state: list[Tensor],
        n_shared: int,
        n_rows: int,
    ) -> Loss:
        """The loss of `size` tasks."""
        example = tasks.select(torch.arange(size))
        theta = torch.zeros(density.d_theta, dtype=tasks.dtype)
        free = torch.zeros(size, d_free(density, phi, tasks), dtype=tasks.dtype)
        noise = phi.noise(density, size, tasks.dtype, torch.Generator().manual_seed(0))
        # Captured apart: one graph may not hold the model's own gradients and vmap at once.
        terms = capture(
            level_terms(density, phi, tasks, jacobian=True, n_state=len(state), n_noise=len(noise)),
            [theta, free, *state, *noise, *example.tensors()],
        )
        family = self.family

        def loss(*inputs: Tensor) -> Tensor:
            shared, rest = list(inputs[:n_shared]), inputs[n_shared:]
            trained, rest = rest[: len(state)], rest[len(state) :]
            rows, (noise_theta, noise_phi, *others) = list(rest[:n_rows]), rest[n_rows:]
            held = [p.detach() for p in shared], [p.detach() for p in rows]

            def one(e_theta: Tensor, e_phi: Tensor) -> Tensor:
                theta, free = family.draw(shared, rows, e_theta, e_phi)
                prior, values = terms(theta, free, *trained, *others)
                log_theta, log_phi = family.log_prob(*held, theta, free)
                return (prior - log_theta) / tasks.num_tasks + (values - log_phi).mean()

            return -torch.func.vmap(one)(noise_theta, noise_phi).mean()

        return loss

    def _sample(
        self, density: Density, done: Parameters, tasks: Tasks, free: int, seed: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        wide = self.family.noise_theta(density.d_theta)
        noise_theta = normal((self.draws, wide), tasks.dtype, generator)
        noise_phi = TaskNoise(generator, tasks).normal(
            (self.draws, tasks.num_tasks, free), tasks.dtype
        )
        with torch.no_grad():
            theta, phi = torch.func.vmap(
                lambda a, b: self.family.draw(done.shared, done.rows, a, b)
            )(noise_theta, noise_phi)
            log_theta, log_phi = torch.func.vmap(
                lambda a, b: self.family.log_prob(done.shared, done.rows, a, b)
            )(theta, phi)
        return theta, phi, log_theta, log_phi
