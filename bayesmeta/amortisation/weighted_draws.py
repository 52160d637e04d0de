"""Draws of phi picked among candidates of q by importance weights: Rubin's resampling (1987)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.amortisation.guides import TaskPosterior
from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import log_normal
from bayesmeta.task_level.corrected_draws import candidate_noise, from_all, log_mixture
from bayesmeta.task_level.curvature import log_density
from bayesmeta.task_level.importance import TRUSTED_K, pareto_k, pick, without_nan
from bayesmeta.task_level.particles import copies
from bayesmeta.task_level.scored_density import ScoredDensity

# q(z_i | D_i, theta) at theta, of tasks, by what was trained.
OfTasks = Callable[[Tensor, Tasks, Sequence[Tensor]], TaskPosterior]
# By how much more candidates there are where each draw has its own.
_MORE = 4
_CELLS_AT_ONCE = 2_000_000


class Candidates(NamedTuple):
    """Unconstrained phi (candidates, draws, tasks, d_phi), and its log weights, one each.

    The first of each draw's is q's own.
    """

    phi: Tensor
    log_weights: Tensor


class WeightedDraws:
    """p(phi_i | D_i, theta) of some tasks at draws of theta, by candidates of q.

        w = p(phi, D_i | theta) / q'(phi)

    Half of the candidates are q's, and half its draws of noise from Student's t, so that q' has
    tails that bound the weights.

    Args:
        scored: the density, by scores z.
        tasks: the support.
        theta: draws (draws, d_theta).
        q_of: makes q.
        state: what was trained.
        is_point: whether all theta are the same.
        weighs: whether weights are asked for, which a guide without a density has not.
    """

    def __init__(
        self,
        scored: ScoredDensity,
        tasks: Tasks,
        theta: Tensor,
        q_of: OfTasks,
        state: Sequence[Tensor],
        *,
        is_point: bool,
        weighs: bool = True,
    ) -> None:
        self.weighs = weighs
        self.scored, self.tasks, self.theta = scored, tasks, theta
        self.q_of, self.state, self.is_point = q_of, state, is_point
        self.shape = (len(theta), tasks.num_tasks, scored.d_phi)
        cells = tasks.num_tasks * (tasks.num_data + 1) * (1 + scored.d_phi)
        self.at_once = max(1, _CELLS_AT_ONCE // cells)
        if is_point:
            with torch.no_grad():
                self.q = q_of(theta[0], tasks, state)
        else:
            self.shared = [*state, *tasks.tensors()]
            self.graph = capture(
                self._at, [theta[0], theta.new_zeros(self.shape[1:]), *self.shared]
            )

    def own(self, noise: TaskNoise) -> Tensor:
        """Draws of q alone, (draws, tasks, d_phi)."""
        return self._weighed(noise.normal(self.shape, self.theta.dtype))[0]

    def candidates(self, count: int, noise: TaskNoise) -> Candidates:
        """So many for each draw, four times as many unless all draws share them."""
        found: list[tuple[Tensor, Tensor]] = []
        for k in range(count if self.is_point else _MORE * count):
            x = candidate_noise(k, self.shape, self.theta.dtype, noise)
            phi, log_weights = self._weighed(x)
            found.append((phi, log_weights - log_mixture(x, self.shape[-1])))
        phi, log_weights = (torch.stack(x) for x in zip(*found, strict=True))
        return Candidates(phi, without_nan(log_weights))

    def picked(self, found: Candidates, noise: TaskNoise) -> Tensor:
        """A candidate for each draw, (draws, tasks, d_phi); q's own where k is above 0.7."""
        phi, log_weights = found
        trusted = pareto_k(mixed(log_weights)).to(phi.device) <= TRUSTED_K
        chosen = picked_of(found, noise, is_point=self.is_point)
        return torch.where(trusted[:, None], chosen, phi[0])

    def _weighed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """phi at noise x (draws, tasks, d_phi), and log p(phi, D_i) - log q(phi) + log N(x)."""
        with torch.no_grad():
            if not self.is_point:
                phi, log_weights = over_draws(
                    self.graph, [self.theta, x], self.shared, self.at_once
                )
                return phi, log_weights
            parts = [self._at_point(part) for part in x.split(self.at_once)]
        phi, log_weights = (torch.cat(found) for found in zip(*parts, strict=True))
        return phi, log_weights

    def _at_point(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The same at one theta: the draws stand side by side as tasks of their own."""
        z, lead, theta = self.q.draw(x), x.shape[:2], self.theta[0]
        phi, log_ratio = self.q.unconstrained(z), torch.zeros_like(z[..., 0])
        if self.weighs or not self.scored.is_affine:
            many, flat = copies(self.tasks, len(z)), z.flatten(0, 1)
        if not self.scored.is_affine:
            phi = self.scored.unconstrained(theta, flat, many).unflatten(0, lead)
        if self.weighs:
            joint = log_density(self.scored, theta, flat, [many], jacobian=True)
            log_ratio = joint.unflatten(0, lead) - self.q.log_prob(z) + log_normal(x, 2)
        return phi, log_ratio

    def _at(self, theta: Tensor, x: Tensor, *shared: Tensor) -> tuple[Tensor, Tensor]:
        state = shared[: len(self.state)]
        tasks = self.tasks.with_tensors(shared[len(self.state) :])
        q = self.q_of(theta, tasks, state)
        z = q.draw(x[None])
        phi = q.unconstrained(z[0])
        if not self.scored.is_affine:
            phi = self.scored.unconstrained(theta, z[0], tasks)
        if not self.weighs:
            return phi, torch.zeros_like(phi[:, 0])
        joint = log_density(self.scored, theta, z[0], [tasks], jacobian=True)
        return phi, joint - q.log_prob(z)[0] + log_normal(x, 1)


def picked_of(found: Candidates, noise: TaskNoise, *, is_point: bool) -> Tensor:
    """A candidate for each draw by its weight; of all of them where theta is a single point."""
    phi, log_weights = found
    if is_point:
        chances = noise.uniform(log_weights.shape[1:], torch.float64)
        at = from_all(log_weights.flatten(0, 1), chances)
        return phi.flatten(0, 1).gather(0, at[..., None].expand(phi.shape[1:]))
    at = pick(log_weights, noise)[None, ..., None].expand(-1, -1, -1, phi.shape[-1])
    return phi.gather(0, at)[0]


def mixed(log_weights: Tensor) -> Tensor:
    """(candidates, draws, tasks) as (candidates x draws, tasks), of all kinds among the first."""
    return log_weights.transpose(0, 1).flatten(0, 1)
