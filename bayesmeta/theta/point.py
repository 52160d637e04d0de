"""Point: the single best theta (MAP), as in MAML and empirical Bayes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_start
from bayesmeta.phi.base import Phi
from bayesmeta.theta.base import Fit, Theta
from bayesmeta.theta.levels import check_training, d_free, held_out, level_terms, repeated
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

    With phi=Joint() it is the joint MAP of theta and phi, which has no finite maximum where a
    learned scale can shrink to 0 with phi at its mean: such a model needs another phi strategy.

    Attributes:
        batch_size: tasks a step; None takes all.
        adam: how to train.
    """

    batch_size: int | None = None
    adam: Adam = field(default_factory=Adam)

    is_point: ClassVar[bool] = True
    trains: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_training("Point", self.batch_size, self.adam)

    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """The maximum, as one chain: of one draw, or of more where phi is a distribution."""
        state = phi.start(density, tasks)
        loss = _loss(density, phi, tasks, len(state))
        start = Parameters(
            [theta_start(density, tasks), *state],
            [torch.zeros(tasks.num_tasks, d_free(density, phi), dtype=tasks.dtype)],
        )
        objective = Objective(
            start,
            loss_of=lambda size: loss,
            noise=lambda size, random: Noise(rows=phi.noise(density, size, tasks.dtype, random)),
            held_out=held_out(density, phi, options, lambda shared: shared[0]),
            d_phi=density.d_phi,
            inner_lr=phi.inner_lr,
            title="point",
        )
        done = train(objective, tasks, batch_size=self.batch_size, adam=self.adam, options=options)
        theta, trained = start.shared[0], tuple(start.shared[1:])
        found = start.rows[0][None, None] if phi.is_joint else None
        return Fit(
            density,
            tasks,
            repeated(theta[None, None], phi),
            found,
            state=trained,
            losses=torch.tensor(done.losses),
            validation=torch.tensor(done.validation).reshape(-1, 2),
            notes=(
                *_about_unseen(density, phi, tasks, theta, trained),
                *_about_points(phi, tasks),
                *done.notes,
            ),
        )


def _loss(density: Density, phi: Phi, tasks: Tasks, n_state: int) -> Loss:
    """-log p(theta) / tasks - the mean over a batch of what phi makes of its tasks."""
    example = phi.noise(density, 1, tasks.dtype, torch.Generator().manual_seed(0))
    terms = level_terms(density, phi, tasks, jacobian=False, n_state=n_state, n_noise=len(example))

    def loss(theta: Tensor, *rest: Tensor) -> Tensor:
        trained, (free, *others) = rest[:n_state], rest[n_state:]
        prior, values = terms(theta, free, *trained, *others)
        return -(prior / tasks.num_tasks + values.mean())

    return loss


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
