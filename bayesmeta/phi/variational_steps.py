"""VariationalSteps: a normal posterior of phi by a few gradient steps from the prior."""

from __future__ import annotations

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
class VariationalSteps(Phi):
    """q(phi_i) = N(m + s a, (s e^b)^2), a and b by gradient steps on the ELBO from a = b = 0:

        E_q[log p(D_i, phi | theta)] + sum b,   m, s = mean and sd of p(phi_i | theta)

    so that few steps stay near the prior, as in amortised Bayesian meta-learning (Ravi & Beatson
    2019). Theta is differentiated through the steps. The log evidence is the log of the mean
    likelihood of the query under draws of q or, without a query, the ELBO at the end.

    Attributes:
        steps: gradient steps.
        lr: their size, in units of a and b.
        particles: draws by which the ELBO is estimated, the same at each step.
        draws: draws of phi at a point estimate of theta; else there is one for each draw of theta.
        first_order: whether the outer gradient ignores how the steps depend on theta.
    """

    steps: int = 5
    lr: float = 0.02
    particles: int = 8
    draws: int = 1000
    first_order: bool = False

    def __post_init__(self) -> None:
        check_steps(self, self.steps, self.lr)
        check_wholes(self, "particles", "draws")

    @property
    def draws_at_point(self) -> int:
        """As many as `draws`: phi is a distribution, even at a single theta."""
        return self.draws

    def noise(
        self, density: Density, num_tasks: int, dtype: torch.dtype, generator: torch.Generator
    ) -> list[Tensor]:
        """Standard normal for the steps, and for the estimate after them."""
        shape = (self.particles, num_tasks, density.d_phi)
        return [normal(shape, dtype, generator) for _ in range(2)]

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """log mean p(query_i | phi, theta) over draws of q, or the ELBO; (tasks,)."""
        mean, sd = self.climb(density, theta, tasks, noise[0])
        phi = mean + sd * noise[1]
        if tasks.query is None:
            entropy = 0.5 * (2 * torch.pi * torch.e * sd.square()).log().sum(-1)
            return joint_of(density, theta, [tasks])(phi).mean(0) + entropy
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
        """A draw of q for each draw of theta."""
        steps = replace(self, first_order=True)
        data = tasks.tensors()

        def climb(point: Tensor, inner: Tensor, *given: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                found = steps.climb(density, point, tasks.with_tensors(given), inner)
            return tuple(x.detach() for x in found)

        points = theta[:1] if is_point else theta
        shape = (len(points), self.particles, tasks.num_tasks, density.d_phi)
        noise = TaskNoise(generator, tasks)
        inner = noise.normal(shape, theta.dtype)
        if is_point:
            # Recording a graph takes longer than the steps themselves.
            mean, sd = climb(theta[0], inner[0], *data)
        else:
            graph = capture(climb, [theta[0], inner[0], *data])
            mean, sd = over_draws(graph, [points, inner], data)
        outer = (len(theta), tasks.num_tasks, density.d_phi)
        return mean + sd * noise.normal(outer, theta.dtype)

    def climb(
        self, density: Density, theta: Tensor, tasks: Tasks, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and sd of q, (tasks, d_phi), that the steps reach on the support."""
        support = replace(tasks, query=None)
        joint = joint_of(density, theta, [support])
        start = prior_mean(density, theta, support)
        unit = prior_sd(density, theta, start, support)
        place, log_scale = (torch.zeros_like(start).requires_grad_() for _ in range(2))
        for _ in range(self.steps):
            phi = start + unit * (place + log_scale.exp() * noise)
            elbo = joint(phi).mean(0) + log_scale.sum(-1)
            slopes = torch.autograd.grad(
                elbo.sum(),
                [place, log_scale],
                create_graph=not self.first_order,
                retain_graph=True,
            )
            place, log_scale = place + self.lr * slopes[0], log_scale + self.lr * slopes[1]
        return start + unit * place, unit * log_scale.exp()
