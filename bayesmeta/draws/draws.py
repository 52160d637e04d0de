"""Draws: theta and phi of a posterior, and what made them; all that reads a posterior takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Concatenate, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import at_draws, in_chunks, joined, kept_by
from bayesmeta.draws.discrete_states import chances, chances_of_drawn, draw_states
from bayesmeta.engine.noise import on_device, seeds
from bayesmeta.model.density import Density
from bayesmeta.model.structure import Structure
from bayesmeta.phi.base import Phi
from bayesmeta.phi.laplace import Laplace
from bayesmeta.running.isolation import undisturbed
from bayesmeta.theta.base import Fit
from bayesmeta.theta.levels import infer_phi
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.pilot import is_for_newton

P = ParamSpec("P")
R = TypeVar("R")


def where_the_tasks_are(
    function: Callable[Concatenate[Draws, P], R],
) -> Callable[Concatenate[Draws, P], R]:
    """The function, undisturbed, with what it makes on the device of the draws' tasks."""

    @wraps(function)
    def there(draws: Draws, *args: P.args, **kwargs: P.kwargs) -> R:
        with undisturbed(), on_device(draws.tasks.device):
            return function(draws, *args, **kwargs)

    return there


class made_when_asked(Generic[R]):
    """A property of draws that is made once, where the tasks are.

    `functools.cached_property` has a lock of its own up to Python 3.11: two threads that come to
    it, one with its turn to compute and one without, would wait for each other for ever.
    """

    def __init__(self, make: Callable[[Draws], R]) -> None:
        self.make = where_the_tasks_are(make)
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, draws: Draws, owner: type | None = None) -> R:
        with undisturbed():
            if self.name not in draws.__dict__:
                draws.__dict__[self.name] = self.make(draws)
        found: R = draws.__dict__[self.name]
        return found


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of theta and phi, constrained and not, made when they are first asked for.

    Attributes:
        fit: what the theta strategy found, on the unconstrained scale.
        strategy: the phi strategy.
        is_point: whether theta is a point estimate.
        seed: from which all further randomness derives.
    """

    fit: Fit
    strategy: Phi
    is_point: bool
    seed: int

    @property
    def density(self) -> Density:
        """The model's density, with the parameterisation that was used."""
        return self.fit.density

    @property
    def tasks(self) -> Tasks:
        """The tasks whose phi these are."""
        return self.fit.tasks

    @property
    def structure(self) -> Structure:
        """The model as it was read."""
        return self.density.structure

    @cached_property
    def seeds(self) -> list[int]:
        """Of adapt, of predict, of phi that is inferred late, and of discrete latents."""
        return seeds(self.seed, 4)

    @made_when_asked
    def free_phi(self) -> Tensor:
        """Draws of unconstrained phi, (chain, draw, tasks, width)."""
        return self._inferred[0]

    @property
    def told(self) -> Mapping[str, Tensor]:
        """What the phi strategy tells of each draw and task, (chain, draw, tasks, ...)."""
        return self._inferred[1]

    @made_when_asked
    def _inferred(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        if self.fit.phi is not None:
            return self.fit.phi, self.fit.told
        return infer_phi(
            self.density,
            self.strategy,
            self.fit.theta,
            self.tasks,
            self.seeds[2],
            is_point=self.is_point,
            state=self.fit.state,
        )

    @made_when_asked
    def values(self) -> dict[str, Tensor]:
        """Draws of each latent site: (chain, draw, ...), or of phi (chain, draw, tasks, ...).

        Of a latent that is one a datapoint, (chain, draw, tasks, data, ...), NaN where there is
        none.
        """
        segments = self.density.segments

        def constrain(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor, ...]:
            values = self.density.shown(theta, phi, tasks)
            return tuple(values[name] for name in segments)

        outputs = zip(
            *in_chunks(
                kept_by(self.density, "values"),
                constrain,
                self.fit.theta,
                self.free_phi,
                self.tasks,
            ),
            strict=True,
        )
        return {
            name: joined(chunks) if segment.is_phi else chunks[0]
            for (name, segment), chunks in zip(segments.items(), outputs, strict=True)
        }

    @made_when_asked
    def theta_values(self) -> dict[str, Tensor]:
        """Those of the shared sites alone, (chain, draw, ...), for which phi is not inferred."""
        names = self.structure.theta
        if self.fit.phi is not None or "values" in self.__dict__:
            return {name: self.values[name] for name in names}
        few = self.tasks.select(torch.arange(min(2, self.tasks.num_tasks)))
        phi = self.fit.theta.new_zeros(*self.fit.theta.shape[:2], len(few), self.density.width(few))

        def constrain(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor, ...]:
            values = self.density.constrain(theta, phi, tasks)
            return tuple(values[name] for name in names)

        found = kept_by(self.density, "theta")(constrain, self.fit.theta, phi, few)
        return dict(zip(names, found, strict=True))

    @made_when_asked
    def states(self) -> Tensor:
        """Joint values of discrete latents, given theta, phi and the tasks' outcomes.

        They are (chain, draw, tasks, columns), as `Summed.states` reads them: further columns of
        phi.
        """
        if self.fit.states is not None:
            return self.fit.states
        if self.density.reading.summed is None:
            return self.free_phi[..., :0]
        given = self.density, self.fit.theta, self.free_phi, self.tasks
        return draw_states(*given, self.seeds[3])

    @made_when_asked
    def chances(self) -> dict[str, Tensor]:
        """Of the values of discrete latents, (chain, draw, tasks, values)."""
        if self.fit.states is not None:
            return chances_of_drawn(self.density, self.fit.states, self.tasks)
        return chances(self.density, self.fit.theta, self.free_phi, self.tasks)

    @made_when_asked
    def computed_theta(self) -> dict[str, Tensor]:
        """Draws of deterministic sites that are of theta alone, (chain, draw, ...)."""
        return _computed(self, is_phi=False)

    @made_when_asked
    def computed_phi(self) -> dict[str, Tensor]:
        """Draws of deterministic sites of tasks: (chain, draw, tasks, ...), or of all together."""
        return _computed(self, is_phi=True)

    @made_when_asked
    def log_weights(self) -> Tensor | None:
        """log p(phi_i, D_i | theta) - log q(phi_i | theta) at each draw, (chain, draw, tasks).

        None where phi was not drawn from a fitted q.
        """
        if self.fit.log_weights is not None or self.strategy.is_joint:
            return self.fit.log_weights
        theta, phi = self.fit.theta, self.free_phi
        flat = self.strategy.log_weights(
            self.density, theta.flatten(0, 1), phi.flatten(0, 1), self.tasks, self.fit.state
        )
        return None if flat is None else flat.reshape(phi.shape[:3])

    @made_when_asked
    def theta_target(self) -> LogPosterior | None:
        """p(theta, D), by which a fitted q(theta) is judged; None where there is no q, or no p.

        Where phi's own log evidence is none or is noisy, that of Laplace's method stands for it.
        """
        phi = self.strategy
        if self.fit.log_q is None or not is_for_newton(self.density, self.tasks, phi):
            return None
        if phi.is_joint or not phi.is_smooth:
            phi = Laplace()
        return LogPosterior(self.density, phi, self.tasks, jacobian=True)

    @made_when_asked
    def candidate_weights(self) -> Tensor | None:
        """Log weights of what draws of phi were picked from by them, (chain x draw, tasks)."""
        if self.strategy.is_joint:
            return None
        theta = self.fit.theta.flatten(0, 1)
        return self.strategy.candidate_weights(self.density, theta, self.tasks, self.fit.state)

    @cached_property
    def centred(self) -> Density:
        """The density with every site of phi on its own scale."""
        return self.density.centre_phi()

    @made_when_asked
    def centred_phi(self) -> Tensor:
        """Draws of unconstrained phi that do not depend on columns, as noncentred ones do."""
        centred = self.centred
        if centred is self.density:
            return self.free_phi

        def centre(theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor]:
            values = self.density.constrain(theta, phi, tasks)
            return (centred.unconstrain(values, tasks)[1],)

        over = kept_by(self.density, "centred")
        outputs = in_chunks(over, centre, self.fit.theta, self.free_phi, self.tasks)
        return joined([phi for (phi,) in outputs])


def _known_discrete(draws: Draws) -> tuple[str, ...]:
    """Discrete latents, but for those of datapoints where there are none."""
    summed = draws.density.reading.summed
    if summed is None:
        return ()
    return summed.names if bool(draws.tasks.mask.any()) else tuple(summed.of_tasks)


def _computed(draws: Draws, *, is_phi: bool) -> dict[str, Tensor]:
    """Deterministic sites, and discrete ones: (chain, draw, tasks, ...) where of tasks.

    Those with a value a datapoint have (chain, draw, tasks, data, ...), NaN on padding.
    """
    density, tasks, nodes = draws.density, draws.tasks, draws.structure.nodes
    names = draws.structure.computed(is_phi=is_phi)
    if not bool(tasks.mask.any()):
        # What a posterior that was loaded computes might read columns, which it does not hold.
        names = ()
    if is_phi:
        names = (*_known_discrete(draws), *names)
    if not names:
        return {}

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
        sites = density.sites(theta, free, given, jacobian=False, priors=False)
        found = []
        for name in names:
            value, axis = sites[name].value.to(given.dtype), nodes[name].tasks_axis
            if nodes[name].is_by_datapoint:
                value = value.movedim((axis, axis + 1), (0, 1))
                events = [1] * (value.dim() - 2)
                there = given.mask.reshape(*given.mask.shape, *events)
                value = torch.where(there, value, torch.nan)
            elif nodes[name].is_by_task:
                value = value.movedim(axis, 0).squeeze(axis + 1)
            found.append(value)
        return tuple(found)

    # All tasks at once: some are of all of them together.
    phi = torch.cat([draws.free_phi, draws.states], -1)
    return dict(zip(names, at_draws(at, draws.fit.theta, phi, tasks), strict=True))
