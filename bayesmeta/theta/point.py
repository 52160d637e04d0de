"""Point: the single best theta (MAP), as in MAML and empirical Bayes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.capturing.capture_errors import CaptureError
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import seeds
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_sd, theta_start
from bayesmeta.phi.base import Phi
from bayesmeta.theta.base import Fit, Theta
from bayesmeta.theta.convergence import doubts_about_mode, doubts_about_point
from bayesmeta.theta.levels import check_training, d_free, held_out, level_terms, repeated
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.pilot import Pilot, are_networks, find_pilot, is_for_newton
from bayesmeta.theta.units import Rows, rows_of
from bayesmeta.training.adam import Adam
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.loop import train
from bayesmeta.training.objective import Objective
from bayesmeta.training.optimiser import Parameters
from bayesmeta.training.stepper import Loss, Noise

_TASKS_TO_ASK = 8


@dataclass(frozen=True)
class Point(Theta):
    """Maximise log p(theta) + sum_i log_evidence_i, a density of the constrained theta.

    It is solved by Newton's method, in float64 and to the last digits, where phi is Exact, Laplace,
    Mode or Joint, all tasks are taken at once and theta has at most 256 numbers; elsewhere it is
    trained by Adam, in units of the posterior's standard deviations where a pilot finds them.

    With phi=Joint() it is the joint MAP of theta and phi, which has no finite maximum where a
    learned scale can shrink to 0 with phi at its mean: such a model needs another phi strategy.

    Attributes:
        batch_size: tasks a step; None takes all, or where a network infers phi 256.
        adam: how to train; None solves where that can be done, and trains by bm.Adam() elsewhere.
    """

    batch_size: int | None = None
    adam: Adam | None = None

    is_point: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_training(self, self.batch_size, self.adam)

    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """The maximum, as one chain: of one draw, or of more where phi is a distribution."""
        found = self._solved(density, tasks, phi) if self._solves(options) else None
        return found or self._trained(density, tasks, phi, options)

    def _solves(self, options: FitOptions) -> bool:
        """Whether nothing asks for steps: neither batches nor a state that is kept on the way."""
        stepwise = self.batch_size, self.adam, options.validation, options.checkpoint
        return all(given is None for given in stepwise)

    def _solved(self, density: Density, tasks: Tasks, phi: Phi) -> Fit | None:
        """The maximum by Newton's method; None where that does not apply."""
        if not (phi.is_smooth and is_for_newton(density, tasks, phi)):
            return None
        if are_networks(density, tasks, phi):
            return None
        tasks = tasks.to(dtype=torch.float64)
        try:
            best = LogPosterior(density, phi, tasks, jacobian=False).maximum()
        except (CaptureError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            return None
        if not torch.isfinite(best.value):
            return None
        found = None
        if phi.is_joint:
            # At a point phi is its maximum, for which no random numbers are drawn.
            found = phi.infer(density, best.at[None], tasks, torch.Generator(), is_point=True)[None]
        return Fit(
            density,
            tasks,
            repeated(best.at[None, None], phi),
            found,
            losses=best.value[None] / tasks.num_tasks,
            notes=_notes(density, phi, tasks, best.at, ()),
            doubts=doubts_about_mode(best, density, is_joint=phi.is_joint),
        )

    def _trained(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """The maximum by Adam, in the units of a pilot where there is one."""
        (pilot_seed,) = seeds(options.seed, 1)
        pilot = find_pilot(density, tasks, phi, pilot_seed)
        density = density if pilot is None else density.starting_at(pilot.theta, pilot.sd)
        units = _units(density, tasks, phi, pilot)
        place = _Place(density, tasks, pilot, units, d_free(density, phi, tasks))
        state = phi.start(density, tasks, options.seed)
        loss = _loss(density, phi, tasks, len(state))
        start = Parameters([place.start, *state], place.rows)
        cut = 1 + len(state)

        def in_place(z: Tensor, *rest: Tensor) -> Tensor:
            rows = rest[cut - 1 : cut - 1 + len(place.rows)]
            theta, free = place(z, rows)
            return loss(theta, *rest[: cut - 1], free, *rest[cut - 1 + len(rows) :])

        objective = Objective(
            start,
            loss_of=lambda size: in_place,
            noise=lambda size, random: Noise(rows=phi.noise(density, size, tasks.dtype, random)),
            held_out=held_out(density, phi, options, lambda shared: place.theta(shared[0])),
            d_phi=density.width(tasks),
            inner_lr=phi.inner_lr,
            probed=1 if units is not None and phi.noise(density, 1, tasks.dtype, _seeded()) else 0,
            title="point",
        )
        adam = self.adam or Adam()
        size = self.batch_size or phi.tasks_a_step
        done = train(objective, tasks, batch_size=size, adam=adam, options=options)
        theta, found = place(start.shared[0], start.rows)
        trained = tuple(start.shared[1:])
        doubts = None
        if done.slopes:
            slopes = done.slopes[0] * tasks.num_tasks
            doubts = doubts_about_point(slopes, density, is_known=pilot is not None)
        return Fit(
            density,
            tasks,
            repeated(theta[None, None], phi),
            found[None, None] if phi.is_joint else None,
            state=trained,
            losses=torch.tensor(done.losses),
            validation=torch.tensor(done.validation).reshape(-1, 2),
            notes=(*_notes(density, phi, tasks, theta, trained), *done.notes),
            doubts=doubts,
        )


def _units(density: Density, tasks: Tasks, phi: Phi, pilot: Pilot | None) -> Tensor | None:
    """S of theta = c + S z: the pilot's, or else the prior's sds; None for networks."""
    if pilot is not None:
        return pilot.root
    if tasks.are_episodes or phi.is_joint or not is_for_newton(density, tasks, phi):
        return None
    return torch.diag(theta_sd(density, tasks))


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


class _Place:
    """theta = c + S z and phi_i = m_i + B_i z + T_i w_i, or theta and phi_i as they are.

    Attributes:
        start, rows: z and w at the start, with the units of each task.
    """

    def __init__(
        self,
        density: Density,
        tasks: Tasks,
        pilot: Pilot | None,
        units: Tensor | None,
        free: int,
    ) -> None:
        self.centre, self.root = theta_start(density, tasks), None
        self.start = self.centre.clone()
        self.rows = [torch.zeros(tasks.num_tasks, free, dtype=tasks.dtype)]
        if units is not None:
            self.root, self.start = units.to(self.centre), torch.zeros_like(self.centre)
        if pilot is not None:
            self.rows += rows_of(density, tasks, pilot.theta, pilot.root, free).tensors()

    def theta(self, z: Tensor) -> Tensor:
        return z if self.root is None else self.centre + self.root @ z

    def __call__(self, z: Tensor, rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """theta and phi."""
        w, *units = rows
        return self.theta(z), Rows(*units).place(z, w) if units else w


def _loss(density: Density, phi: Phi, tasks: Tasks, n_state: int) -> Loss:
    """-log p(theta) / tasks - the mean over a batch of what phi makes of its tasks."""
    example = phi.noise(density, 1, tasks.dtype, torch.Generator().manual_seed(0))
    terms = level_terms(density, phi, tasks, jacobian=False, n_state=n_state, n_noise=len(example))

    def loss(theta: Tensor, *rest: Tensor) -> Tensor:
        trained, (free, *others) = rest[:n_state], rest[n_state:]
        prior, values = terms(theta, free, *trained, *others)
        return -(prior / tasks.num_tasks + values.mean())

    return loss


def _notes(
    density: Density, phi: Phi, tasks: Tasks, theta: Tensor, state: tuple[Tensor, ...]
) -> tuple[str, ...]:
    return (*_about_unseen(density, phi, tasks, theta, state), *_about_points(phi, tasks))


def _about_points(phi: Phi, tasks: Tasks) -> tuple[str, ...]:
    """A note where phi is fitted to the data that score it."""
    if phi.averages or tasks.query is not None:
        return ()
    return (
        f"without a query phi=bm.{type(phi).__name__}() is scored by the data that it was fitted "
        "to, which says little of how phi spreads between tasks: give query=, or take "
        "phi=bm.Laplace()",
    )


def _about_unseen(
    density: Density, phi: Phi, tasks: Tasks, theta: Tensor, state: tuple[Tensor, ...]
) -> tuple[str, ...]:
    """A note on the sites of theta that the objective does not depend on, if there are any."""
    if phi.is_joint:
        return ()
    few = tasks.select(torch.arange(min(tasks.num_tasks, _TASKS_TO_ASK)))
    noise = phi.noise(density, few.num_tasks, few.dtype, torch.Generator().manual_seed(0))
    at = theta.detach().requires_grad_()
    values = phi.log_evidence(density, at, few, state, noise)
    (slope,) = torch.autograd.grad(values.sum(), at, allow_unused=True)
    unseen = [
        name
        for name in density.structure.theta
        if slope is None or not density.segments[name].unflatten(slope).any()
    ]
    if not unseen:
        return ()
    return (
        f"phi=bm.{type(phi).__name__}() does not depend on {', '.join(unseen)}, which the data "
        "leave where the prior puts them",
    )
