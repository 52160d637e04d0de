"""GradientSteps: phi is what a few gradient steps from theta reach, as in MAML."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import normal
from bayesmeta.model.checks import StructureError, first_few
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import score
from bayesmeta.model.prior import draw_prior, prior_mean, theta_start
from bayesmeta.phi.base import Phi, check_steps
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.curvature import diagonal, log_density, newton_step, warn_of_unseen

# Nats a datapoint.
_FALL = 1.0
# Of Newton's steps: on how many tasks a model is tried, how far its curvatures may be apart beside
# the largest, and how much of a step may be left after it.
_TRIED, _TOLERANCE, _LEFT = 16, 1e-7, 1e-2


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
            of sd sigma, and one for the mean cross-entropy rate / n. None takes Newton's,

                lr_k = 1 / h_k,   h_k = -d^2 log p(D_i | phi, theta) / d phi_k^2

            for models where that curvature couples no coordinates and does not depend on phi; other
            models are refused. A single step then lands on the maximum, whatever the number of
            datapoints, as on the means of classes. What the data say nothing of (h_k = 0) stays at
            phi_i^0, with a warning where the task has data.
        first_order: whether the outer gradient ignores how the steps depend on theta (FOMAML).
        learn_lr: whether each coordinate of phi has a positive rate of its own, trained with theta
            from lr on (Meta-SGD: Li, Zhou, Chen & Li 2017).
        with_prior: whether the steps climb log p(D_i | phi, theta) + log p(phi | theta).
    """

    steps: int = 5
    lr: float | None = 0.01
    first_order: bool = False
    learn_lr: bool = False
    with_prior: bool = False

    def __post_init__(self) -> None:
        check_steps(self, self.steps, 1.0 if self.lr is None else self.lr)
        if self.lr is None and self.learn_lr:
            raise ValueError(
                "GradientSteps got lr=None, learn_lr=True; rates that are learned start at a "
                "number, as lr=0.01, and Newton's (lr=None) are not learned"
            )

    @property
    def averages(self) -> bool:
        """It does not: phi is a point."""
        return False

    def start(self, density: Density, tasks: Tasks, seed: int = 0) -> list[Tensor]:
        """The logarithm of each coordinate's rate (d_phi,), where rates are learned."""
        if not self.learn_lr:
            return []
        assert self.lr is not None
        return [torch.full((density.d_phi,), math.log(self.lr), dtype=tasks.dtype)]

    @property
    def trained_part(self) -> tuple[object, ...]:
        """Whether rates are learned: they serve any number of steps."""
        return (self.learn_lr,)

    def check(self, density: Density, tasks: Tasks) -> None:
        """Refuse for Newton's steps (lr=None) a model that they do not solve.

        Raises:
            StructureError: naming the task at which the curvature couples coordinates of phi,
                changes with phi, or is negative.
        """
        if self.lr is not None or not density.d_phi:
            return
        some = torch.linspace(0, tasks.num_tasks - 1, min(_TRIED, tasks.num_tasks)).long()
        self._check_curvature(density, tasks.select(some).to(dtype=torch.float64))
        theta, bends = theta_start(density, tasks), []
        for chunk in tasks.chunks(density.d_phi):
            part = tasks.select(chunk)
            phi, gradient = self._slope(density, theta, part, prior_mean(density, theta, part))
            bends.append(diagonal(gradient, phi).detach())
        warn_of_unseen(density, tasks, torch.cat(bends))

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
            return self._at_point(density, theta[0], tasks, state)[None]
        shared = [*state, *tasks.tensors()]

        def climb(point: Tensor, *rest: Tensor) -> tuple[Tensor]:
            rates, data = rest[: len(state)], rest[len(state) :]
            with torch.enable_grad():
                given = [tasks.with_tensors(data)]
                return (self.climb(density, point, given, rates).detach(),)

        return over_draws(capture(climb, [theta[0], *shared]), [theta], shared)[0]

    def _at_point(
        self, density: Density, theta: Tensor, tasks: Tasks, state: Sequence[Tensor]
    ) -> Tensor:
        """As `infer`, at one theta: recording a graph takes longer than the steps themselves."""
        steps = replace(self, first_order=True)
        reached, rise, bends = [], [], []
        for chunk in tasks.chunks(density.d_phi):
            part = tasks.select(chunk)
            with torch.enable_grad():
                phi = steps.climb(density, theta, [part], state).detach()
            reached.append(phi)
            if self.lr is None:
                bends.append(self._check_reached(density, theta, part, phi))
            else:
                rise.append(_rise(density, theta, part, phi))
        if rise:
            self._warn_of_falls(torch.cat(rise), tasks)
        elif len(tasks.sample()) < len(tasks):
            # Of so many `check` has seen some.
            warn_of_unseen(density, tasks, torch.cat(bends))
        return torch.cat(reached)

    def _check_curvature(self, density: Density, tasks: Tasks) -> None:
        """Refuse a curvature that is not diagonal, constant and positive, at draws of the prior."""
        with isolated(seed=0), torch.no_grad():
            (theta, one), (_, other) = draw_prior(density, tasks), draw_prior(density, tasks)
        signs = normal(one.shape, one.dtype, torch.Generator().manual_seed(0)).sign()
        phi, gradient = self._slope(density, theta, tasks, one)
        first, second = diagonal(gradient, phi), diagonal(gradient, phi, signs)
        phi, gradient = self._slope(density, theta, tasks, other)
        third = diagonal(gradient, phi)
        size = first.abs().amax(-1).clamp(min=torch.finfo(first.dtype).tiny)
        for bad, fault in (
            (first - second, "couples coordinates of phi"),
            (first - third, "changes with phi"),
            ((-first).clamp(min=0), "is negative"),
        ):
            # "not <=" so that NaN counts as bad.
            worst = ~(bad.abs().amax(-1) <= _TOLERANCE * size)
            if worst.any():
                raise StructureError(
                    f"{self!r} takes Newton's steps (lr=None), for which the curvature of "
                    f"log p(D_i | phi_i, theta) has to be diagonal and constant, but it {fault} at "
                    f"task '{tasks.names[int(worst.nonzero()[0])]}'; give a number as lr, or take "
                    "phi=bm.Mode()"
                )

    def _check_reached(self, density: Density, theta: Tensor, tasks: Tasks, phi: Tensor) -> Tensor:
        """Refuse a point from which Newton's step still leads on; the curvatures there."""
        at, gradient = self._slope(density, theta, tasks, phi)
        left = newton_step(gradient, at).abs().amax(-1)
        moved = (phi - prior_mean(density, theta, tasks)).abs().amax(-1)
        astray = ~(left <= _LEFT * moved + _LEFT**2 * phi.abs().amax(-1)).detach()
        if self.steps and astray.any():
            names = [f"'{tasks.names[i]}'" for i in astray.nonzero()[:, 0].tolist()]
            raise StructureError(
                f"{self!r} did not reach the maximum of log p(D_i | phi_i, theta) in {len(names)} "
                f"of {len(tasks)} tasks ({first_few(names)}), as it does where the curvature is "
                "diagonal and constant; give a number as lr, or take phi=bm.Mode()"
            )
        return diagonal(gradient, at).detach()

    def _slope(
        self, density: Density, theta: Tensor, tasks: Tasks, phi: Tensor
    ) -> tuple[Tensor, Tensor]:
        """phi, and the gradient of what is climbed as a function of it."""
        with torch.enable_grad():
            at = phi.detach().requires_grad_()
            height = self._height(density, theta.detach(), at, [tasks])
            return at, torch.autograd.grad(height.sum(), at, create_graph=True)[0]

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
            height = self._height(density, theta, phi, parts)
            (gradient,) = torch.autograd.grad(
                height.sum(),
                phi,
                create_graph=rate is None or not self.first_order,
                retain_graph=True,
            )
            step = newton_step(gradient, phi) if rate is None else rate * gradient
            phi = phi + (step.detach() if self.first_order else step)
        return phi

    def _height(
        self, density: Density, theta: Tensor, phi: Tensor, parts: Sequence[Tasks]
    ) -> Tensor:
        """What the steps climb, (tasks,)."""
        if self.with_prior:
            return log_density(density, theta, phi, parts, jacobian=True)
        return torch.stack([density.log_likelihood(theta, phi, part) for part in parts]).sum(0)


def _rise(density: Density, theta: Tensor, tasks: Tasks, phi: Tensor) -> Tensor:
    """By how much log p(D_i | phi_i) is above where the steps started, (tasks,)."""
    with torch.no_grad():
        start = prior_mean(density, theta, tasks)
        before, after = (density.log_likelihood(theta, at, tasks) for at in (start, phi))
    return after - before
