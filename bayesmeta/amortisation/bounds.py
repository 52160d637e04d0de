"""Bounds: what a network of posteriors is trained for, estimated by its draws."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.amortisation.guides import TaskPosterior
from bayesmeta.data.arguments import check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.task_level.particles import OfDraws, log_mean

# In nats.
_FAR = 1000.0


@dataclass(frozen=True)
class Bound(ABC):
    """An estimate of log p(D_i | theta) by draws phi_k of q.

    Attributes:
        particles: draws of phi for each task and step.
        sees_query: whether D_i, and so what q is given, is support and query together.
        knows_phi: whether it judges q by the phi that the data were simulated from.
    """

    particles: int = 8

    sees_query: ClassVar[bool] = True
    knows_phi: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_wholes(self, "particles")

    @abstractmethod
    def __call__(self, q: TaskPosterior, phi: Tensor, joint: OfDraws, score: OfDraws) -> Tensor:
        """The estimate, (tasks,).

        Args:
            q: the posterior of phi.
            phi: draws of it, (particles, tasks, d_phi); or the one that is known.
            joint: of phi, log p(D_i, phi_k | theta), (particles, tasks).
            score: of phi, log p(query_i | phi_k, theta), or of D_i itself without a query.
        """


@dataclass(frozen=True)
class ELBO(Bound):
    """The evidence lower bound (Jordan et al. 1999).

        E_q[log p(D_i, phi | theta) - log q(phi | D_i)]

    Its gradient leaves out the score of q, whose mean is zero, so that it has no noise where q is
    the posterior (Roeder, Wu & Duvenaud 2017).

    Attributes:
        particles: draws of phi for each task and step.
    """

    def __call__(self, q: TaskPosterior, phi: Tensor, joint: OfDraws, score: OfDraws) -> Tensor:
        """The mean over draws."""
        return (joint(phi) - q.held().log_prob(phi)).mean(0)


@dataclass(frozen=True)
class ImportanceWeighted(Bound):
    """The log of the mean importance weight, a tighter bound (Burda, Grosse & Salakhutdinov 2016).

    log 1/K sum_k p(D_i, phi_k | theta) / q(phi_k | D_i)

    Attributes:
        particles: draws of phi for each task and step.
    """

    def __call__(self, q: TaskPosterior, phi: Tensor, joint: OfDraws, score: OfDraws) -> Tensor:
        """The log of the mean over draws."""
        return log_mean(joint(phi) - q.log_prob(phi))


@dataclass(frozen=True)
class Predictive(Bound):
    """The query's log likelihood by the support's posterior (Gordon et al. 2019).

    log 1/K sum_k p(query_i | phi_k, theta),   phi_k ~ q(phi | support_i)

    Attributes:
        particles: draws of phi for each task and step.
    """

    sees_query: ClassVar[bool] = False

    def __call__(self, q: TaskPosterior, phi: Tensor, joint: OfDraws, score: OfDraws) -> Tensor:
        """The log of the mean over draws."""
        return log_mean(score(phi))


@dataclass(frozen=True)
class Simulated(Bound):
    """The log density of the phi that simulated data were drawn from (Papamakarios & Murray 2016).

        log q(phi_i | D_i),   phi_i ~ p(phi),   D_i ~ p(D | phi_i)

    Its mean is highest where q is the posterior. The model's density is not asked for, so that q
    finds every mode of a likelihood that gradients would not lead to; in turn it learns nothing
    from data that are real. The truth is read from the columns of x that have the names of phi's
    sites, (tasks, 1, ...); the network does not see them. For models without theta.
    """

    particles: int = 1

    knows_phi: ClassVar[bool] = True

    def __call__(self, q: TaskPosterior, phi: Tensor, joint: OfDraws, score: OfDraws) -> Tensor:
        """The log density of what is known."""
        return q.log_prob(phi)[0]


def tamed(values: Tensor, parts: Sequence[Tasks]) -> Tensor:
    """The estimates (tasks,); of what is far from any fit, no more than a bounded pull.

        -c (2 + c / v)  for v < -c,  c = 1000 nats for the task and for each of its numbers

    A wrong row, or a draw of a heavy-tailed prior, would else be all of the gradient. It is in the
    Pareto k of its task that it is seen.
    """
    numbers = sum(part.mask.sum(1) * _numbers(part) for part in parts)
    most = _FAR * (1 + torch.as_tensor(numbers, device=values.device)).to(values.dtype)
    times = (-values / most).clamp(min=1)
    return torch.where(times > 1, most * (1 / times - 2), values)


def _numbers(tasks: Tasks) -> int:
    return 1 if tasks.y is None else tasks.y[:1, :1].numel()
