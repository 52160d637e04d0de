"""The contract of a phi strategy: what is done with phi_i, given theta and the data of task i."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_number, check_whole
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density

_told: ContextVar[dict[str, Tensor] | None] = ContextVar("told", default=None)


@contextmanager
def listen() -> Iterator[dict[str, Tensor]]:
    """What strategies tell within the block of how they infer phi, by name."""
    found: dict[str, Tensor] = {}
    token = _told.set(found)
    try:
        yield found
    finally:
        _told.reset(token)


def tell(name: str, values: Tensor) -> None:
    """Tell a listener, where there is one, of each draw and task: values (draws, tasks, ...)."""
    told = _told.get()
    if told is not None:
        told[name] = values.detach()


@dataclass(frozen=True)
class Phi(ABC):
    """What is done per task. A strategy is frozen hyperparameters; it holds no data.

    Attributes:
        is_joint: whether phi is left to the theta strategy, which then treats theta and phi as one
            vector; `log_evidence` is not called.
        has_evidence: whether it estimates log p(D_i | theta), by which theta is inferred; without
            it infers phi where theta is known.
        is_smooth: whether the log evidence (of Joint, its maximum over phi) is a smooth function of
            theta alone, so that the best theta is found by Newton's method.
        tasks_a_step: how many tasks a training step takes where no number is given; None is all.
        remedy: what to do where its q(phi_i) is far from the posterior.
    """

    is_joint: ClassVar[bool] = False
    has_evidence: ClassVar[bool] = True
    is_smooth: ClassVar[bool] = False
    tasks_a_step: ClassVar[int | None] = None
    remedy: ClassVar[str] = (
        "adapt(tasks, refine=bm.Refine()) improves on it task by task and runs again what stays "
        "above; or train longer, or on more tasks"
    )

    @property
    def label(self) -> str:
        """What it is called in tables and pictures."""
        return type(self).__name__

    @property
    def draws_at_point(self) -> int:
        """How many draws of phi a point estimate of theta gets: 1 where phi is a point too."""
        return 1

    @property
    def inner_lr(self) -> float | None:
        """The size of its own gradient steps, where it takes any."""
        return getattr(self, "lr", None)

    @property
    def averages(self) -> bool:
        """Whether the estimate without a query averages over phi, as the log evidence does.

        A phi that is fitted to data, and scored by them, rewards a prior that holds nothing back.
        """
        return True

    def silent(self) -> Phi:
        """The same strategy without a progress bar of its own."""
        return self

    def check_new(self, density: Density, seen: Tasks, new: Tasks) -> None:  # noqa: B027
        """Refuse new tasks that are not laid out like those that were seen in training.

        Raises:
            StructureError: naming the columns.
        """

    def check(self, density: Density, tasks: Tasks) -> None:  # noqa: B027
        """Refuse a model that this strategy cannot treat; it comes before any long computation.

        Raises:
            StructureError: naming what of the model does not fit, and what to use instead.
        """

    def check_found(self, density: Density, tasks: Tasks, theta: Tensor) -> None:  # noqa: B027
        """Refuse a model that this strategy turns out not to treat where inference led to.

        Args:
            density: the model's density.
            tasks: what theta was inferred from.
            theta: draws of it, (draws, d_theta).

        Raises:
            StructureError: naming what of the model does not fit, and what to use instead.
        """

    def start(self, density: Density, tasks: Tasks, seed: int = 0) -> list[Tensor]:
        """What of this strategy is trained together with theta, at its start: its state.

        Most strategies have none. Inner learning rates and encoders are of this kind; what of it is
        random is drawn by `seed`.
        """
        return []

    @property
    def trained_part(self) -> tuple[object, ...]:
        """What decides whether another of this kind can use what was trained: all settings.

        Less where some of them, as a number of steps or draws, leave the trained part as it is.
        """
        return (self,)

    def noise(
        self, density: Density, num_tasks: int, dtype: torch.dtype, generator: torch.Generator
    ) -> list[Tensor]:
        """Random numbers that one estimate of the log evidence takes, each (any, tasks, ...).

        Most strategies take none: their estimate is a function of theta alone.
        """
        return []

    def shortened(self, density: Density, tasks: Tasks) -> tuple[Density, Phi, Tasks] | None:
        """A density on fewer data, with the strategy for it, that gives the same log evidence.

        None where there is none; see `sufficiency.sufficient`.
        """
        return None

    def searched(self, density: Density, tasks: Tasks) -> tuple[Density, Tasks]:
        """On which density and rows the modes are searched for that its log evidence rests on."""
        return density, tasks

    def log_evidence(
        self,
        density: Density,
        theta: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
        noise: Sequence[Tensor] = (),
    ) -> Tensor:
        """An estimate of log p(D_i | theta), differentiable in theta and state.

        Args:
            density: the model's density.
            theta: unconstrained, of shape (d_theta,).
            tasks: the support, with the query where there is one.
            state: tensors like those of `start`.
            noise: tensors like those of `noise`.

        Returns:
            one value a task, shape (tasks,).

        Raises:
            TypeError: where the strategy has no evidence.
        """
        raise TypeError(f"{type(self).__name__} has no log evidence of its own")

    @abstractmethod
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
        """phi of tasks, seen or not, for each draw of theta; `adapt` calls it.

        Args:
            density: the model's density.
            theta: unconstrained draws of shape (draws, d_theta).
            tasks: the support.
            generator: the source of randomness, for `engine.task_noise`, whose numbers are the same
                on every device and a task's own; for a draw of Pyro's, of the seed of `isolated`.
            is_point: whether theta is a point estimate: its rows are then equal, `draws_at_point`
                of them.
            state: what was trained, as `start` lays it out.

        Returns:
            unconstrained, of shape (draws, tasks, d_phi).
        """

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
        """`infer` with draws of phi at hand that may be near the posterior, for chains to start at.

        Most strategies start as ever.

        Args:
            start: unconstrained, one for each draw of theta, (draws, tasks, d_phi).
            density, theta, tasks, generator, is_point: as of `infer`.
        """
        return self.infer(density, theta, tasks, generator, is_point=is_point)

    def log_weights(
        self,
        density: Density,
        theta: Tensor,
        phi: Tensor,
        tasks: Tasks,
        state: Sequence[Tensor] = (),
    ) -> Tensor | None:
        """log p(phi_i, D_i | theta) - log q(phi_i | D_i, theta) at draws, by which q is judged.

        Args:
            density: the model's density.
            theta: unconstrained draws (draws, d_theta).
            phi: what `infer` gave for them, (draws, tasks, d_phi).
            tasks: the support.
            state: what was trained.

        Returns:
            (draws, tasks); None where the strategy has no density of its own to judge.
        """
        return None

    def candidate_weights(
        self, density: Density, theta: Tensor, tasks: Tasks, state: Sequence[Tensor] = ()
    ) -> Tensor | None:
        """log p(phi_i, D_i | theta) - log q(phi_i) of what draws are picked from by these weights.

        Args:
            density: the model's density.
            theta: unconstrained draws (draws, d_theta).
            tasks: the support.
            state: what was trained.

        Returns:
            (draws, tasks); None where draws are not picked by weights.
        """
        return None


def check_steps(strategy: object, steps: object, lr: object) -> None:
    """Refuse a count of gradient steps that is none, such as one swapped with lr, or a bad lr."""
    check_whole(strategy, "steps", steps, least=0)
    check_number(strategy, "lr", lr, above=0)
