"""SteinParticles: phi as particles that climb together and keep apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.data.arguments import check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import normal
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.prior import prior_mean, prior_sd
from bayesmeta.phi.base import Phi, check_steps
from bayesmeta.task_level.particles import joint_of, log_mean, score_of


@dataclass(frozen=True)
class SteinParticles(Phi):
    """Stein variational gradient descent from draws around the prior (Liu & Wang 2016).

        phi_k += lr / K sum_l [k(phi_l, phi_k) d log p(D_i, phi_l | theta) + d k(phi_l, phi_k)]

    in units of the prior's sd, with k(a, b) = exp(-|a - b|^2 / h) and h = median^2 / log K. With
    theta differentiated through the steps it is the inner loop of Bayesian MAML (Yoon et al. 2018),
    whose outer loss, a chaser, is here the query's log likelihood, averaged over particles as
    log 1/K sum_k p(query | phi_k); without a query it is that of the support.

    Attributes:
        steps: of all particles.
        lr: their size.
        particles: K; as many draws of phi at a point estimate of theta, else one for each draw.
        first_order: whether the outer gradient ignores how the steps depend on theta.
    """

    steps: int = 5
    lr: float = 0.1
    particles: int = 10
    first_order: bool = False

    def __post_init__(self) -> None:
        check_steps(self, self.steps, self.lr)
        check_wholes(self, "particles", least=2)

    @property
    def draws_at_point(self) -> int:
        """The particles."""
        return self.particles

    def noise(
        self, density: Density, num_tasks: int, dtype: torch.dtype, generator: torch.Generator
    ) -> list[Tensor]:
        """Where the particles start."""
        shape = (self.particles, num_tasks, density.d_phi)
        return [normal(shape, dtype, generator)]

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """log 1/K sum_k p(query_i | phi_k, theta), or of the support; (tasks,)."""
        phi = self.climb(density, theta, tasks, noise[0])
        return log_mean(score_of(density, theta, tasks)(phi))

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
        """The particles at a point estimate; else one of as many for each draw of theta."""
        steps = replace(self, first_order=True)
        data = tasks.tensors()

        def climb(point: Tensor, start: Tensor, *given: Tensor) -> tuple[Tensor]:
            with torch.enable_grad():
                found = steps.climb(density, point, tasks.with_tensors(given), start)
            return (found.detach(),)

        points = theta[:1] if is_point else theta
        shape = (len(points), self.particles, tasks.num_tasks, density.d_phi)
        start = TaskNoise(generator, tasks).normal(shape, theta.dtype)
        if is_point:
            # Recording a graph takes longer than the steps themselves.
            return climb(theta[0], start[0], *data)[0]
        graph = capture(climb, [theta[0], start[0], *data])
        return over_draws(graph, [points, start], data)[0][:, 0]

    def climb(self, density: Density, theta: Tensor, tasks: Tasks, start: Tensor) -> Tensor:
        """Particles (particles, tasks, d_phi) after all steps on the support."""
        support = replace(tasks, query=None)
        joint = joint_of(density, theta, [support])
        mean = prior_mean(density, theta, support)
        sd = prior_sd(density, theta, mean, support)
        z = start.detach().requires_grad_()
        for _ in range(self.steps):
            (slope,) = torch.autograd.grad(
                joint(mean + sd * z).sum(),
                z,
                create_graph=not self.first_order,
                retain_graph=True,
            )
            z = z + self.lr * stein_direction(z, slope)
        return mean + sd * z


def stein_direction(z: Tensor, slope: Tensor) -> Tensor:
    """1/K sum_l k(z_l, z_k) slope_l + d/dz_l k(z_l, z_k), (particles, tasks, d)."""
    count = len(z)
    apart = z[:, None] - z[None]
    square = apart.square().sum(-1)
    first, second = torch.triu_indices(count, count, 1, device=z.device)
    width = square[first, second].median(0).values.clamp(min=1e-12) / math.log(count)
    kernel = (-square / width).exp()[..., None]
    # apart[k, l] = z_k - z_l: what drives k away from l.
    push = 2 * apart / width[..., None] * kernel
    return (kernel * slope[None] + push).mean(1)
