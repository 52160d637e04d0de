"""HMC: phi drawn from p(phi | theta, D_i) itself, for a theta that is known or was inferred."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.capturing.capture import over_draws
from bayesmeta.capturing.kept import captured
from bayesmeta.data.arguments import check_number, check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.phi.prior_draws import with_prior_draws
from bayesmeta.task_level.conditional_draws import draw_conditional
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.gauss_newton import choose
from bayesmeta.task_level.scored_density import ScoredDensity, by_scores

_LOW_ACCEPTANCE = 0.5


@dataclass(frozen=True)
class HMC(Phi):
    """Hamiltonian Monte Carlo of each task's phi (Duane et al. 1987; Neal 2011).

    A chain for each draw, all tasks and draws together, in scores of the prior
    (docs/decisions/0020), whitened by the curvature at the mode. Every other chain starts at the
    Laplace approximation, and the others at draws of the prior, which other modes have too: by
    R-hat of the two kinds `diagnose` tells whether they have come to the same. It
    infers phi where theta is known, by `posterior.adapt(tasks, phi=bm.HMC())` after any fit, or
    with theta=bm.Fixed({...}). It has no estimate of log p(D_i | theta), so that theta is not
    inferred by it.

    Attributes:
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
        transitions: of each chain while it finds the task's step size and units, and again as many
            with these held; the last state is the draw.
        leapfrogs: steps of a transition.
        step_size: of a leapfrog at first, in posterior standard deviations.
    """

    draws: int = 1000
    transitions: int = 20
    leapfrogs: int = 4
    step_size: float = 0.3

    has_evidence: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_wholes(self, "draws", "transitions", "leapfrogs")
        check_number(self, "step_size", self.step_size, above=0)

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`: phi is a distribution, even at a single theta."""
        return self.draws

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse a network whose curvature is not known."""
        choose(None, density, tasks).check(density, tasks)

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
        """The last state of a chain for each draw of theta."""
        return self._run(density, theta, tasks, generator, None, is_point=is_point)

    def infer_from(
        self,
        start: Tensor,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        generator: torch.Generator,
        *,
        is_point: bool,
    ) -> Tensor:
        """The same, with `start` in the place of the Laplace approximation; see the base class.

        The latter stays the start of chains whose own is impossible, is no draw of the mode that it
        leads to, or leads to one with less than e^-5 of the usual mode's mass, by Laplace's method.
        """
        return self._run(density, theta, tasks, generator, start, is_point=is_point)

    def _run(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        generator: torch.Generator,
        start: Tensor | None,
        *,
        is_point: bool,
    ) -> Tensor:
        if density.width(tasks) == 0:
            return theta.new_empty(len(theta), tasks.num_tasks, 0)
        curvature, scored = choose(None, density, tasks), by_scores(density, tasks)
        noise = TaskNoise(generator, tasks)
        conditional = Conditional(scored, tasks, jacobian=True, curvature=curvature)
        z, acceptance = draw_conditional(
            conditional,
            theta,
            noise,
            transitions=self.transitions,
            leapfrogs=self.leapfrogs,
            step_size=self.step_size,
            is_point=is_point,
            start=None if start is None else _changed(scored, scored.scores, theta, start, tasks),
        )
        phi = _changed(scored, scored.unconstrained, theta, z, tasks)
        phi = with_prior_draws(density, theta, phi, tasks, noise, is_point=is_point)
        worst = int(acceptance.argmin())
        if acceptance[worst] < _LOW_ACCEPTANCE:
            warnings.warn(
                f"adapting to task '{tasks.names[worst]}' accepted {acceptance[worst]:.0%} of its "
                "steps, so its draws of phi may stay near the Laplace approximation; take "
                f"phi=bm.HMC(step_size={self.step_size / 3:.2g}, leapfrogs={3 * self.leapfrogs}), "
                "or fit it together with the other tasks to check",
                stacklevel=2,
            )
        return phi


def _changed(
    scored: ScoredDensity,
    change: Callable[[Tensor, Tensor, Tasks], Tensor],
    theta: Tensor,
    phi: Tensor,
    tasks: Tasks,
) -> Tensor:
    """phi of scores, or scores of phi, at each draw."""
    if not scored.scored:
        return phi

    def at(theta: Tensor, phi: Tensor, *data: Tensor) -> tuple[Tensor]:
        return (change(theta, phi, tasks.with_tensors(data)),)

    data = tasks.tensors()
    graph = captured(scored, change.__name__, [tasks], at, [theta[0], phi[0], *data])
    return over_draws(graph, [theta, phi], data)[0]
