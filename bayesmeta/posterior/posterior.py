"""Posterior: draws of theta and phi, and what is done with them: adapt, predict, log likelihood."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.noise import on_device
from bayesmeta.model.checks import StructureError
from bayesmeta.model.density import Density
from bayesmeta.model.handlers import isolated
from bayesmeta.model.structure import Structure, check_all, run_checked
from bayesmeta.phi.base import Phi
from bayesmeta.posterior.own_tasks import Own, places_among
from bayesmeta.posterior.predict import (
    Prediction,
    at_draws,
    hide_padding,
    in_chunks,
    joined,
    random_at_draws,
)
from bayesmeta.posterior.refine import Refine, check_refinable, refined
from bayesmeta.theta.base import Fit, infer_phi, repeated, seeds

if TYPE_CHECKING:
    import pandas as pd

    from bayesmeta.posterior.diagnose import Diagnosis

P = ParamSpec("P")
R = TypeVar("R")


def _where_the_tasks_are(
    method: Callable[Concatenate[Posterior, P], R],
) -> Callable[Concatenate[Posterior, P], R]:
    """The method, with what it makes on the device of the posterior's tasks."""

    @wraps(method)
    def there(self: Posterior, *args: P.args, **kwargs: P.kwargs) -> R:
        with on_device(self.tasks.device):
            return method(self, *args, **kwargs)

    return there


@dataclass(frozen=True, eq=False, repr=False)
class Posterior:
    """p(theta, phi | D) as draws.

    A point estimate is one chain, of one draw, or of equal draws where phi has several.

    Attributes:
        fit: what the theta strategy found, on the unconstrained scale.
        strategy: the phi strategy, which `adapt` uses for new tasks.
        is_point: whether theta is a point estimate.
        seed: from which all further randomness (predict, adapt) derives.
    """

    fit: Fit
    strategy: Phi
    is_point: bool
    seed: int

    @property
    def density(self) -> Density:
        """The model's density."""
        return self.fit.density

    @property
    def tasks(self) -> Tasks:
        """The tasks whose phi this posterior holds."""
        return self.fit.tasks

    @property
    def structure(self) -> Structure:
        """The model as it was read."""
        return self.density.structure

    @property
    def stats(self) -> Mapping[str, Tensor]:
        """What the sampler tells of each draw, (chain, draw)."""
        return self.fit.stats

    @property
    def losses(self) -> Tensor:
        """The loss at each training step; empty for samplers."""
        return self.fit.losses

    @property
    def validation(self) -> Tensor:
        """After how many steps the validation tasks were scored, and their loss; (checks, 2)."""
        return self.fit.validation

    @property
    def seconds(self) -> Mapping[str, float]:
        """What the parts of a sampler's run took, in seconds: "compile" and "sample"."""
        return self.fit.seconds

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was chosen automatically, and why."""
        return self.fit.notes

    @cached_property
    @_where_the_tasks_are
    def free_phi(self) -> Tensor:
        """Draws of unconstrained phi, (chain, draw, tasks, d_phi)."""
        if self.fit.phi is not None:
            return self.fit.phi
        return infer_phi(
            self.density,
            self.strategy,
            self.fit.theta,
            self.tasks,
            self._seeds[2],
            is_point=self.is_point,
            state=self.fit.state,
        )

    @cached_property
    @_where_the_tasks_are
    def _values(self) -> dict[str, Tensor]:
        slots = self.density.slots

        def constrain(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor, ...]:
            values = self.density.constrain(theta, phi, tasks)
            return tuple(values[name] for name in slots)

        outputs = zip(
            *in_chunks(at_draws, constrain, self.fit.theta, self.free_phi, self.tasks), strict=True
        )
        return {
            name: joined(chunks) if slot.is_phi else chunks[0]
            for (name, slot), chunks in zip(slots.items(), outputs, strict=True)
        }

    @property
    def theta(self) -> dict[str, Tensor]:
        """Draws of the shared sites, (chain, draw, ...)."""
        return {name: self._values[name] for name in self.structure.theta}

    @property
    def phi(self) -> dict[str, Tensor]:
        """Draws of the sites of each task, (chain, draw, tasks, ...).

        Where the theta strategy did not infer phi itself, this waits until it is first asked for.
        """
        return {name: self._values[name] for name in self.structure.phi}

    @cached_property
    @_where_the_tasks_are
    def log_weights(self) -> Tensor | None:
        """log p(phi_i, D_i | theta) - log q(phi_i | theta) at each draw, (chain, draw, tasks).

        None where phi was not drawn from a fitted q. `diagnose` judges each task by them.
        """
        if self.fit.log_weights is not None or self.strategy.is_joint:
            return self.fit.log_weights
        theta, phi = self.fit.theta, self.free_phi
        flat = self.strategy.log_weights(
            self.density, theta.flatten(0, 1), phi.flatten(0, 1), self.tasks, self.fit.state
        )
        return None if flat is None else flat.reshape(phi.shape[:3])

    @_where_the_tasks_are
    def adapt(
        self,
        tasks: Tasks,
        *,
        phi: Phi | None = None,
        refine: Refine | None = None,
        seed: int | None = None,
    ) -> Posterior:
        """The posterior of phi for tasks never seen: p(theta | D) p(phi_new | theta, D_new).

        Theta is what it was: it does not learn from the new tasks. A task without datapoints gets
        its prior given theta.

        Args:
            tasks: the new tasks with their support.
            phi: another phi strategy than the fit's.
            refine: where phi is amortised, how to improve on one pass of the network; the
                posterior's notes say for how many tasks that did not suffice.
            seed: the source of randomness; None derives it from the fit's.

        Raises:
            StructureError: where the model does not fit the new tasks.
            TypeError: where tasks are no Tasks, phi is no strategy, or refine is given to one that
                has no network.
        """
        if not isinstance(tasks, Tasks) or not isinstance(phi, Phi | None):
            raise TypeError(
                f"adapt got a {type(tasks).__name__} and phi={phi!r}; give bm.Tasks, made by "
                "from_frame, from_arrays or from_list, and a strategy, such as phi=bm.Laplace()"
            )
        if tasks.y is None:
            raise StructureError(
                "adapt got tasks without y, so there is nothing to adapt to; give empty tasks "
                "(all False in mask) for the prior given theta"
            )
        tasks = tasks.to(self.tasks.device, self.tasks.dtype)
        with isolated(seed=0):
            run_checked(self.density.model, tasks.sample())
        check_all(self.density.model, tasks)
        strategy = phi if phi is not None else self.strategy
        if refine is not None:
            check_refinable(refine, strategy)
        seed = self._seeds[0] if seed is None else seed
        state = self.fit.state if strategy == self.strategy else ()
        if len(state) != len(strategy.start(self.centred, tasks)):
            raise ValueError(
                f"adapt got phi={strategy!r}, a part of which is trained with theta, but this "
                f"posterior was fitted with phi={self.strategy!r}; give it to bm.fit"
            )
        strategy.check(self.centred, tasks.sample())
        strategy.check_new(self.centred, self.tasks, tasks)
        theta = repeated(self.fit.theta, strategy) if self.is_point else self.fit.theta
        fit = replace(
            self.fit,
            density=self.centred,
            tasks=tasks,
            theta=theta,
            phi=None,
            state=tuple(state),
            log_weights=None,
            notes=(),
        )
        if refine is None:
            found = infer_phi(
                self.centred,
                strategy,
                theta,
                tasks,
                seed,
                is_point=self.is_point,
                state=state,
            )
            return Posterior(replace(fit, phi=found), strategy, self.is_point, seed)
        done = refined(refine, strategy, fit, seed, is_point=self.is_point)
        return Posterior(done, strategy, self.is_point, seed)

    @property
    def _seeds(self) -> list[int]:
        """Of adapt, of predict, and of phi that is inferred late."""
        return seeds(self.seed, 3)

    @cached_property
    def centred(self) -> Density:
        """The density with every site of phi on its own scale."""
        # A noncentred u means another value under other tasks' columns; a centred one does not.
        return self.density.noncentre((), self.tasks) if self.density.noncentred else self.density

    @_where_the_tasks_are
    def predict(
        self, tasks: Tasks | Own = Own.TASKS, *, repeats: int = 1, seed: int | None = None
    ) -> Prediction:
        """Outcomes of these tasks at the inputs given, (chain, draw, tasks, data); y is not read.

        Args:
            tasks: inputs of the posterior's tasks, or of some of them; by default its own.
            repeats: outcomes for each draw of theta and phi, side by side along draw; more than 1
                is for point estimates.
            seed: the source of randomness; None derives it from the fit's.

        Raises:
            TasksError: where the tasks are others than the posterior's: adapt to them first.
        """
        tasks, phi = self._own(tasks)
        name = self.structure.data[0]
        density = self.centred

        def predict(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
            return tuple(found[name] for found in density.predict(theta, free, given))

        theta, phi = (x.repeat_interleave(repeats, dim=1) for x in (self.fit.theta, phi))
        with isolated(self._seeds[1] if seed is None else seed):
            outputs = in_chunks(random_at_draws, predict, theta, phi, tasks)
        return Prediction(*(hide_padding(joined(o), tasks) for o in zip(*outputs, strict=True)))

    @cached_property
    @_where_the_tasks_are
    def centred_phi(self) -> Tensor:
        """Draws of unconstrained phi that do not depend on columns, as noncentred ones do."""
        if not self.density.noncentred:
            return self.free_phi
        centred = self.centred

        def centre(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor]:
            values = self.density.constrain(theta, phi, tasks)
            return (centred.unconstrain(values, tasks)[1],)

        outputs = in_chunks(at_draws, centre, self.fit.theta, self.free_phi, self.tasks)
        return joined([phi for (phi,) in outputs])

    @_where_the_tasks_are
    def log_likelihood(self, tasks: Tasks | Own = Own.TASKS) -> Tensor:
        """log p(y_ij | x_ij, phi_i, theta) at each draw, (chain, draw, tasks, data); 0 on padding.

        Raises:
            TasksError: where the tasks are others than the posterior's, or have no y.
            StructureError: where the model does not know such outcomes.
        """
        tasks, phi = self._own(tasks)
        if tasks.y is None:
            raise TasksError("the tasks have no y to score; predict gives draws of it")
        centred = self.centred  # made here: making it draws from the prior, which no graph may

        def pointwise(theta: Tensor, phi: Tensor, given: Tasks) -> tuple[Tensor]:
            return (centred.pointwise(theta, phi, given),)

        try:
            outputs = in_chunks(at_draws, pointwise, self.fit.theta, phi, tasks)
        except (IndexError, RuntimeError):
            # Such as of a class that the model does not have: say so, if that is it.
            run_checked(self.density.model, tasks)
            raise
        return joined([values for (values,) in outputs])

    def log_score(self, tasks: Tasks | Own = Own.TASKS) -> Tensor:
        """log of the mean over draws of p(y_ij | x_ij, phi_i, theta), (tasks, data).

        Padded cells hold NaN, as those of `predict` do: sum or average over tasks.mask.
        """
        values = self.log_likelihood(tasks).flatten(0, 1)
        score = torch.logsumexp(values, 0) - math.log(len(values))
        hidden = ~(self.tasks if isinstance(tasks, Own) else tasks).mask
        return score.masked_fill(hidden, torch.nan)

    def summary(self, kind: str = "all") -> pd.DataFrame:
        """ArviZ's table of means, sds, intervals, ESS and R-hat of theta and phi."""
        from bayesmeta.posterior.arviz import summary

        return summary(self, kind)

    def diagnose(self) -> Diagnosis:
        """Whether the draws can be trusted, in words to act on."""
        from bayesmeta.posterior.diagnose import diagnose

        return diagnose(self)

    def save(self, folder: str | Path) -> None:
        """Write it to a folder, for `bm.load`: theta, phi and what was trained, but no x and no y.

        Names of tasks are kept, as phi belongs to them: rename tasks whose names are secret.
        """
        from bayesmeta.posterior.saving import save

        save(self, Path(folder))

    def to_arviz(self) -> Any:
        """What the installed ArviZ works on, with task names as coordinates."""
        from bayesmeta.posterior.arviz import to_arviz

        return to_arviz(self)

    def _own(self, tasks: Tasks | Own) -> tuple[Tasks, Tensor]:
        """The tasks given, and the draws of centred phi that are theirs."""
        if not isinstance(tasks, Own):
            places = places_among(tasks, self.tasks)
            return tasks.to(self.tasks.device, self.tasks.dtype), self.centred_phi[:, :, places]
        if not bool(self.tasks.mask.any()):
            raise TasksError(
                "the posterior's own tasks hold no datapoints (a posterior that was loaded holds "
                "no data); give tasks of the same names, as in predict(tasks)"
            )
        return self.tasks, self.centred_phi

    def __repr__(self) -> str:
        chains, draws = self.fit.theta.shape[:2]
        return (
            f"Posterior({chains} chains of {draws} draws; "
            f"theta: {', '.join(self.structure.theta)}; "
            f"phi: {', '.join(self.structure.phi) or 'none'}; {self.tasks.num_tasks} tasks)"
        )
