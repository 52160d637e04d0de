"""GradientSteps: phi is what a few gradient steps from theta reach, as in MAML."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.capture import capture, over_draws
from bayesmeta.model.checks import first_few
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import score
from bayesmeta.model.prior import prior_mean
from bayesmeta.phi.base import Phi, check_steps
from bayesmeta.task_level.curvature import log_density

# Nats a datapoint.
_FALL = 1.0


@dataclass(frozen=True)
class GradientSteps(Phi):
    """A point estimate of phi_i by gradient ascent on the support's log likelihood.

        phi_i^0 = E[phi_i | theta],  phi_i^{k+1} = phi_i^k + lr * d/dphi log p(D_i | phi_i^k, theta)

    On a quadratic this is MAP under a Gaussian prior at phi_i^0 whose precision the steps set
    (Santos 1996; Grant et al. 2018). The log evidence is the query's log likelihood at phi_i^steps
    (Finn, Abbeel & Levine 2017) or, without a query, the support's own (Grant et al. 2018, eq. 5).

    Attributes:
        steps: gradient steps.
        lr: their size, in unconstrained phi per unit of d log p / d phi. A rate that was tuned for
            the mean squared error of n datapoints becomes rate * 2 sigma^2 / n under normal noise
            of sd sigma, and one for the mean cross-entropy rate / n.
        first_order: whether the outer gradient ignores how the steps depend on theta (FOMAML).
        learn_lr: whether each coordinate of phi has a positive rate of its own, trained with theta
            from lr on (Meta-SGD: Li, Zhou, Chen & Li 2017).
        with_prior: whether the steps climb log p(D_i | phi, theta) + log p(phi | theta).
    """

    steps: int = 5
    lr: float = 0.01
    first_order: bool = False
    learn_lr: bool = False
    with_prior: bool = False

    def __post_init__(self) -> None:
        check_steps(self, self.steps, self.lr)

    @property
    def averages(self) -> bool:
        """It does not: phi is a point."""
        return False

    def start(self, density: Density, tasks: Tasks, seed: int = 0) -> list[Tensor]:
        """The logarithm of each coordinate's rate (d_phi,), where rates are learned."""
        if not self.learn_lr:
            return []
        return [torch.full((density.d_phi,), math.log(self.lr), dtype=tasks.dtype)]

    @property
    def trained_part(self) -> tuple[object, ...]:
        """Whether rates are learned: they serve any number of steps."""
        return (self.learn_lr,)

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """log p(query_i | phi_i^steps, theta), or log p(D_i | phi_i^steps, theta); (tasks,)."""
        phi = self.climb(density, theta, [tasks], state)
        if tasks.query is None:
            return density.log_likelihood(theta, phi, tasks)
        return score(density, theta, phi, tasks.query)

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
        """The point that the steps reach from each draw of theta."""
        if len(theta) == 1:
            # Recording a graph takes longer than the steps themselves.
            steps = replace(self, first_order=True)
            reached, rise = [], []
            for chunk in tasks.chunks(density.d_phi):
                part = tasks.select(chunk)
                with torch.enable_grad():
                    phi = steps.climb(density, theta[0], [part], state).detach()
                reached.append(phi)
                rise.append(_rise(density, theta[0], part, phi))
            self._warn_of_falls(torch.cat(rise), tasks)
            return torch.cat(reached)[None]
        shared = [*state, *tasks.tensors()]

        def climb(point: Tensor, *rest: Tensor) -> tuple[Tensor]:
            rates, data = rest[: len(state)], rest[len(state) :]
            with torch.enable_grad():
                given = [tasks.with_tensors(data)]
                return (self.climb(density, point, given, rates).detach(),)

        return over_draws(capture(climb, [theta[0], *shared]), [theta], shared)[0]

    def _warn_of_falls(self, rise: Tensor, tasks: Tasks) -> None:
        """Name the tasks where log p(D_i | phi_i) fell far, or is no number; rise is (tasks,)."""
        # "not >=" so that NaN counts as a fall.
        fell = (~(rise >= -_FALL * tasks.sizes)).nonzero()[:, 0].tolist()
        if not fell:
            return
        named = first_few([f"'{tasks.names[i]}'" for i in fell])
        warnings.warn(
            f"{self!r} went down instead of up in {len(fell)} of {len(tasks)} tasks ({named}): "
            f"log p(D_i | phi_i) fell by more than {_FALL} a datapoint, or is no number, "
            "and phi of these tasks is of no use; take a smaller lr, or fewer steps",
            stacklevel=2,
        )

    def climb(
        self,
        density: Density,
        theta: Tensor,
        parts: Sequence[Tasks],
        state: Sequence[Tensor] = (),
    ) -> Tensor:
        """phi (tasks, d_phi) that the steps reach on all parts of the tasks' data together."""
        rate = state[0].exp() if self.learn_lr else self.lr
        phi = prior_mean(density, theta, parts[0])
        if not phi.requires_grad:
            phi = phi.detach().requires_grad_()
        for _ in range(self.steps):
            if self.with_prior:
                height = log_density(density, theta, phi, parts, jacobian=True)
            else:
                levels = [density.log_likelihood(theta, phi, part) for part in parts]
                height = torch.stack(levels).sum(0)
            (gradient,) = torch.autograd.grad(
                height.sum(),
                phi,
                create_graph=not self.first_order,
                retain_graph=True,
            )
            phi = phi + rate * gradient
        return phi


def _rise(density: Density, theta: Tensor, tasks: Tasks, phi: Tensor) -> Tensor:
    """By how much log p(D_i | phi_i) is above where the steps started, (tasks,)."""
    with torch.no_grad():
        start = prior_mean(density, theta, tasks)
        before, after = (density.log_likelihood(theta, at, tasks) for at in (start, phi))
    return after - before
