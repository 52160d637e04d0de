"""log p(theta), log p(phi_i | theta) and log p(D_i | phi_i, theta) as pure functions of tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.samplers import draw
from bayesmeta.distributions.supports import bijection
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checks import DATA, TASKS, StructureError, check_value, plate_names
from bayesmeta.model.enumeration import levels_of
from bayesmeta.model.flat_vectors import assemble, lay_out
from bayesmeta.model.location_scale import (
    check_noncentred,
    has_mean,
    is_identity,
    place_noncentred,
)
from bayesmeta.model.reading import Reading
from bayesmeta.model.structure import Role, Structure
from bayesmeta.running.handlers import Model, run
from bayesmeta.running.isolation import isolated
from bayesmeta.running.sites import Choice, Site

Values = dict[str, Tensor]


class Terms(NamedTuple):
    """The three factors of the joint log density: shapes (), (tasks,) and (tasks,)."""

    theta: Tensor
    phi: Tensor
    data: Tensor


class Density:
    """The joint density of a model on flat unconstrained theta (d_theta,) and phi (tasks, width).

    A site x with support S is x = T(u), T onto S from the reals, and its term gets log |dT/du|. A
    noncentred site is x = loc + scale * u (Papaspiliopoulos, Roberts & Skold 2007), so its term is
    the standard density of u. Number of tasks and datapoints are those of the tasks given.

    Finite discrete latents are summed out: p(phi_i | theta) and p(D_i | phi_i, theta) are sums.

    A row of phi holds d_phi numbers of the task, and after them d_local of each datapoint, padding
    included: such latents of no datapoint, and those that the model masks, are standard normal.

    Args:
        reading: the model, as it was read.
        noncentred: names of location-scale sites to treat as loc + scale * u.
        start: unconstrained theta to start from and its units, (2, d_theta), where better ones are
            known than those of its prior.

    Attributes:
        segments: where each latent site lies in theta or phi.
        without_mean: the latent sites without a finite mean.
        scored: the sites of phi by their scores; none here, see `task_level/scored_density`.
        d_theta, d_phi, d_local: numbers of theta, of each task, and of each datapoint.
        solvers: what strategies have made for this density, by kind; it lives as long as it.

    Raises:
        StructureError: where a noncentred site is no latent or has no loc and scale.
    """

    scored: frozenset[str] = frozenset()

    def __init__(
        self, reading: Reading, noncentred: Sequence[str] = (), start: Tensor | None = None
    ) -> None:
        self.reading, self.noncentred, self.start = reading, tuple(noncentred), start
        self.solvers: dict[Hashable, Any] = {}
        drawn_from, structure = reading.drawn_from, reading.structure
        for name in self.noncentred:
            check_noncentred(name, structure, drawn_from)
        self.segments = lay_out(structure, drawn_from)
        self.without_mean = {name for name in self.segments if not has_mean(drawn_from[name])}
        self.d_theta, self.d_phi, self.d_local = (
            max((self.segments[n].stop for n in names), default=0)
            for names in (structure.theta, structure.phi, structure.local)
        )

    @property
    def model(self) -> Model:
        """The Pyro function."""
        return self.reading.model

    @property
    def structure(self) -> Structure:
        """The sites of the model by role."""
        return self.reading.structure

    def width(self, tasks: Tasks) -> int:
        """How many numbers a row of phi has: of a task, and of each of its datapoints."""
        return self.d_phi + tasks.num_data * self.d_local

    def noncentre(self, names: Sequence[str]) -> Density:
        """The same density with the sites `names` as loc + scale * u."""
        # The same again at each call, with all that was made for it.
        kind = ("noncentred", tuple(names))
        if self.start is not None:
            return Density(self.reading, names, self.start)
        if kind not in self.solvers:
            self.solvers[kind] = Density(self.reading, names)
        found: Density = self.solvers[kind]
        return found

    def centre_phi(self) -> Density:
        """The same density with every site of phi on its own scale.

        A noncentred u means another value under other tasks' columns; a centred one does not.
        """
        of_theta = [n for n in self.noncentred if not self.segments[n].is_phi]
        return self if len(of_theta) == len(self.noncentred) else self.noncentre(of_theta)

    def starting_at(self, theta: Tensor, sd: Tensor) -> Density:
        """The same density, solvers and all, with another place to start from, and its units."""
        found = copy(self)
        found.start = torch.stack([theta, sd])
        return found

    def terms(self, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool = True) -> Terms:
        """The terms at unconstrained theta (d_theta,) and phi (tasks, width).

        With jacobian=False they are densities of the constrained values, whose maximum is MAP.
        """
        return self._gather(self.sites(theta, phi, tasks, jacobian=jacobian), tasks)

    def log_likelihood(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """log p(D_i | phi_i, theta), (tasks,): the last of the terms, without the priors' work."""
        # What phi says of discrete latents is in its prior.
        is_summed = self.reading.summed is not None
        sites = self.sites(theta, phi, tasks, jacobian=False, priors=is_summed)
        return self._gather(sites, tasks).data

    def constrain(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Values:
        """The sites' values at unconstrained vectors; phi sites of shape (tasks, ...)."""
        sites = self.sites(theta, phi, tasks, jacobian=False)
        return {name: segment.publish(sites[name].value) for name, segment in self.segments.items()}

    def shown(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Values:
        """`constrain` with NaN where a local latent is that of no datapoint, or masked."""
        sites = self.sites(theta, phi, tasks, jacobian=False)
        found = {}
        for name, segment in self.segments.items():
            value, there = sites[name].value, sites[name].there
            if there is not None:
                events = [1] * (value.dim() - there.dim())
                value = value.masked_fill(~there.reshape(*there.shape, *events), torch.nan)
            found[name] = segment.publish(value)
        return found

    def unconstrain(self, values: Mapping[str, Tensor], tasks: Tasks) -> tuple[Tensor, Tensor]:
        """The inverse of `constrain`."""

        def given(name: str, fn: Any) -> Tensor:
            return self.segments[name].unpublish(values[name])

        return self.collect(given, tasks)

    def theta_at(self, values: Mapping[str, Tensor], tasks: Tasks) -> Tensor:
        """Unconstrained theta (d_theta,) at constrained values of the shared sites.

        Raises:
            StructureError: where a site is missing, unknown, of another shape, or out of support.
        """
        wanted = self.structure.theta
        if set(values) - set(self.structure.computed(is_phi=False)) != set(wanted):
            raise StructureError(
                f"values were given for {', '.join(values) or 'no site'}, but the model's shared "
                f"sites are {', '.join(wanted) or 'none'}; give one value for each of them"
            )

        def given(name: str, fn: Any) -> Tensor:
            if self.segments[name].is_phi:
                return draw(fn)
            value = torch.as_tensor(values[name]).to(tasks.mask.device, tasks.dtype)
            check_value(name, value, fn)
            return value

        with isolated(seed=0), torch.no_grad():
            return self.collect(given, tasks.sample())[0]

    def distributions(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Any]:
        """What each site of phi, and each local one, is drawn from at theta and phi."""
        sites = self.sites(theta, phi, tasks, jacobian=False)
        return {name: sites[name].fn for name, s in self.segments.items() if s.is_phi}

    def outcomes(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Site]:
        """The observed sites at theta and phi, with what they are drawn from."""
        sites = self.sites(theta, phi, tasks, jacobian=False, priors=False)
        return {name: sites[name] for name in self.structure.data}

    @property
    def has_data_factors(self) -> bool:
        """Whether a `pyro.factor` is in the plate "data"."""
        return bool(self.structure.data_factors)

    def sites(
        self, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool, priors: bool = True
    ) -> dict[str, Site]:
        """The sites of the model at unconstrained theta and phi.

        Discrete latents have all their values; or those whose joint values are given in further
        columns of phi, see `Summed.states`.

        Args:
            theta, phi, tasks, jacobian: as of `terms`.
            priors: whether to take the densities of theta and phi, or 0 in their place.
        """

        summed, joint = self.reading.summed, dict[str, Tensor]()
        if summed is not None:
            phi, further = phi.tensor_split([self.width(tasks)], 1)
            joint = summed.states(further, tasks.num_data)

        def choose(name: str, fn: Any) -> Choice:
            if summed is not None and name in summed.names:
                return summed.choose(name, fn, joint.get(name))
            if name not in self.segments:
                # An outcome to predict. Pyro would draw it in place, which vmap does not batch.
                return Choice(draw(fn))
            segment = self.segments[name]
            u = segment.unflatten(phi if segment.is_phi else theta)
            choice = self.choice(name, fn, u, jacobian=jacobian, priors=priors)
            if segment.rows is None:
                return choice
            idle = log_normal(u, len(fn.batch_shape))
            return replace(choice, there=tasks.mask, idle=idle)

        return run(self.model, tasks, choose, bounded=self.reading.bounded)

    def value(self, name: str, fn: Any, u: Tensor) -> Tensor:
        """A site's value at its unconstrained one."""
        return place_noncentred(fn, u).value if name in self.noncentred else bijection(fn)(u)

    def free(self, name: str, fn: Any, value: Tensor) -> Tensor:
        """The inverse of `value`."""
        if name not in self.noncentred:
            return bijection(fn).inv(value)
        base = base_distribution(fn)
        found: Tensor = (value - base.loc) / base.scale
        return found

    def choice(self, name: str, fn: Any, u: Tensor, *, jacobian: bool, priors: bool) -> Choice:
        """The value of a latent site at u, with its density."""
        if name in self.noncentred:
            return place_noncentred(fn, u)
        if priors:
            return _place(fn, u, jacobian=jacobian)
        value = bijection(fn)(u)
        return Choice(value, value.new_zeros(1, 1))

    def collect(
        self,
        value_of: Callable[[str, Any], Tensor],
        tasks: Tasks,
        drawn: dict[str, Tensor] | None = None,
        joint: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Unconstrained theta and phi of the values that are given, site by site.

        Where a value depends on discrete latents it is its mean over theirs.

        Args:
            value_of: the value of a latent site by its name and what it is drawn from, which is
                at the values before it.
            tasks: the inputs; y is not read.
            drawn: where given, discrete latents are drawn; it gets what `Summed.draw` tells.
            joint: the joint value of each task's discrete latents, (tasks, 1), where it is known.
        """
        flat, log_probs, summed = Values(), Values(), self.reading.summed

        def choose(name: str, fn: Any) -> Choice | None:
            if summed is not None and name in summed.names:
                if drawn is not None:
                    value, drawn[name] = summed.draw(name, fn)
                    return Choice(value)
                choice = summed.choose(name, fn, joint if name in summed.of_tasks else None)
                if name in summed.of_tasks and choice.log_prob is not None:
                    log_probs[name] = choice.log_prob
                return choice
            if name not in self.segments:
                return None
            value = value_of(name, fn)
            value = self.averaged(name, value, log_probs.values())
            flat[name] = self.segments[name].flatten(self.free(name, fn, value))
            return Choice(value)

        run(self.model, tasks, choose)
        return assemble(self.segments, {name: flat[name] for name in self.segments}, tasks)

    def averaged(self, name: str, value: Tensor, log_probs: Collection[Tensor]) -> Tensor:
        """The mean of a site's value over those of discrete latents, if it depends on them."""
        summed, drawn_from = self.reading.summed, self.reading.drawn_from[name]
        events = len(drawn_from.event_shape)
        if summed is None or not summed.depends(value, events):
            return value
        batch = len(drawn_from.batch_shape)
        return summed.average(value, summed.weights(log_probs), batch, events)

    def _gather(self, sites: Mapping[str, Site], tasks: Tasks) -> Terms:
        zero, summed = tasks.mask.new_zeros((), dtype=tasks.dtype), self.reading.summed
        theta, phi, data = zero, zero.expand(tasks.num_tasks), zero.expand(tasks.num_tasks)
        for site in sites.values():
            role, plates = self.structure.nodes[site.name].role, plate_names(site)
            if role is Role.DETERMINISTIC or (summed is not None and TASKS in plates):
                continue
            if TASKS not in plates:
                theta = theta + site.log_prob.sum()
            elif DATA in plates and role is not Role.LOCAL:
                data = data + _by_task(masked(site.log_prob, tasks))
            else:
                phi = phi + _by_task(site.log_prob)
        if summed is not None:
            phi, data = levels_of(summed, self.structure, sites, tasks)
        return Terms(theta, phi, data)


def _place(fn: Any, u: Tensor, *, jacobian: bool) -> Choice:
    """The value T(u), with the density of u, or that of the value."""
    transform = bijection(fn)
    value = transform(u)
    log_prob = fn.log_prob(value)
    if not jacobian or is_identity(transform):
        return Choice(value, log_prob)
    stretch = transform.log_abs_det_jacobian(u, value)
    return Choice(value, log_prob + stretch, stretch)


def log_normal(u: Tensor, batch: int) -> Tensor:
    """The log density of standard normal u, summed over what follows its batch dimensions."""
    found = -0.5 * (u.square() + math.log(2 * math.pi))
    return found.flatten(batch).sum(-1) if found.dim() > batch else found


def _by_task(log_prob: Tensor) -> Tensor:
    """(..., tasks, data) summed to (tasks,)."""
    summed = log_prob.sum(-1)
    return summed.flatten(0, -2).sum(0) if summed.dim() > 1 else summed


def masked(log_prob: Tensor, tasks: Tasks) -> Tensor:
    """(..., tasks, data) with zero on padding."""
    return torch.where(tasks.mask, log_prob, 0.0) if tasks.ragged else log_prob
