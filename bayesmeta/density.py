"""log p(theta), log p(phi_i | theta) and log p(D_i | phi_i, theta) as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import biject_to

from bayesmeta.checks import DATA, TASKS, StructureError, plate_names
from bayesmeta.problem import Choice, Model, Site, at_dtype, isolated, run
from bayesmeta.structure import Role, Structure
from bayesmeta.tasks import Tasks

Values = dict[str, Tensor]


class Terms(NamedTuple):
    """The three factors of the joint log density: shapes (), (tasks,) and (tasks,)."""

    theta: Tensor
    phi: Tensor
    data: Tensor


@dataclass(frozen=True)
class Slot:
    """Where a latent site lies in the flat vectors, and how to reshape it there and back.

    Attributes:
        name: the site.
        is_phi: whether it is a column block of phi (tasks, d_phi), or a block of theta (d_theta,).
        start, stop: its block.
        shape: its unconstrained shape; for phi, without the tasks axis.
        axis: for phi, the tasks axis counted from the left; the plate "data" (size 1) follows it.
    """

    name: str
    is_phi: bool
    start: int
    stop: int
    shape: tuple[int, ...]
    axis: int

    def unflatten(self, flat: Tensor) -> Tensor:
        """The site's unconstrained value out of theta (d_theta,) or phi (tasks, d_phi)."""
        block = flat[..., self.start : self.stop]
        if not self.is_phi:
            return block.reshape(self.shape)
        return block.reshape(len(flat), *self.shape).movedim(0, self.axis)

    def flatten(self, value: Tensor) -> Tensor:
        """The inverse of `unflatten`: (d,) or (tasks, d)."""
        if not self.is_phi:
            return value.reshape(-1)
        return value.movedim(self.axis, 0).reshape(value.shape[self.axis], -1)

    def publish(self, value: Tensor) -> Tensor:
        """A constrained value as users see it: phi as (tasks, ...), without the plate "data"."""
        return value.movedim(self.axis, 0).squeeze(self.axis + 1) if self.is_phi else value

    def unpublish(self, value: Tensor) -> Tensor:
        """The inverse of `publish`."""
        return value.unsqueeze(self.axis + 1).movedim(0, self.axis) if self.is_phi else value


class Density:
    """The joint density of a model on flat unconstrained theta (d_theta,) and phi (tasks, d_phi).

    A site x with support S is x = T(u), T = biject_to(S), and its term gets log |dT/du|. A
    noncentred site is x = loc + scale * u (Papaspiliopoulos, Roberts & Skold 2007), so its term is
    the standard density of u. Number of tasks and datapoints are those of the tasks given.

    Args:
        model: a Pyro function of the tasks.
        structure: what `structure(model, tasks)` read.
        tasks: data to read shapes off.
        noncentred: names of location-scale phi sites to treat as loc + scale * u.

    Raises:
        StructureError: where a noncentred site is no phi or has no loc and scale.
    """

    def __init__(
        self, model: Model, structure: Structure, tasks: Tasks, noncentred: Sequence[str] = ()
    ) -> None:
        self.model, self.structure, self.noncentred = model, structure, tuple(noncentred)
        with isolated(seed=0), torch.no_grad():
            sites = run(model, tasks)
        for name in self.noncentred:
            _check_noncentred(name, structure, sites)
        self.slots = _slots(structure, sites)
        ends = {p: max((s.stop for s in self.slots.values() if s.is_phi is p), default=0)
                for p in (False, True)}  # fmt: skip
        self.d_theta, self.d_phi = ends[False], ends[True]

    def noncentre(self, names: Sequence[str], tasks: Tasks) -> Density:
        """The same density with the phi sites `names` as loc + scale * u."""
        return Density(self.model, self.structure, tasks, names)

    def terms(self, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool = True) -> Terms:
        """The terms at unconstrained theta (d_theta,) and phi (tasks, d_phi).

        With jacobian=False they are densities of the constrained values, whose maximum is MAP.
        """
        return self._gather(self._run(theta, phi, tasks, jacobian), tasks)

    def terms_at(self, values: Mapping[str, Tensor], tasks: Tasks) -> Terms:
        """The terms at constrained values, phi of shape (tasks, ...) as a posterior holds them."""
        inner = {name: self.slots[name].unpublish(v) for name, v in values.items()}
        sites = run(self.model, tasks, lambda name, fn: Choice(inner[name]))
        return self._gather(sites, tasks)

    def pointwise(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """log p(y_ij | x_ij, phi_i, theta) of every datapoint (tasks, data); zero on padding."""
        sites = self._run(theta, phi, tasks, jacobian=True)
        return sum(
            (
                _masked(s.log_prob, tasks).flatten(0, -3).sum(0)
                if s.log_prob.dim() > 2
                else _masked(s.log_prob, tasks)
                for s in sites.values()
                if self.structure.nodes[s.name].role is Role.DATA
            ),
            torch.zeros((), dtype=tasks.dtype),
        )

    def constrain(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Values:
        """The sites' values at unconstrained vectors; phi sites of shape (tasks, ...)."""
        sites = self._run(theta, phi, tasks, jacobian=False)
        return {name: slot.publish(sites[name].value) for name, slot in self.slots.items()}

    def unconstrain(self, values: Mapping[str, Tensor], tasks: Tasks) -> tuple[Tensor, Tensor]:
        """The inverse of `constrain`."""

        def given(name: str, fn: Any) -> Tensor:
            return self.slots[name].unpublish(values[name])

        return self._collect(given, tasks)

    def draw_prior(self, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """One draw of unconstrained theta and phi from the prior, from the current random state."""
        return self._collect(lambda name, fn: fn.sample(), tasks)

    def prior_mean(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """The mean of p(phi | theta), unconstrained, of shape (tasks, d_phi).

        Raises:
            StructureError: where the prior has no mean (Cauchy).
        """

        def mean(name: str, fn: Any) -> Tensor:
            if self.slots[name].is_phi:
                return fn.mean
            return biject_to(fn.support)(self.slots[name].unflatten(theta))

        return self._collect(mean, tasks)[1]

    def distributions(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Any]:
        """What each phi site is drawn from at theta and phi."""
        sites = self._run(theta, phi, tasks, jacobian=False)
        return {name: sites[name].fn for name in self.structure.phi}

    def predict(
        self, theta: Tensor, phi: Tensor, tasks: Tasks
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A draw of each outcome given theta and phi, and its mean; shapes (tasks, data, ...)."""
        sites = self._run(theta, phi, tasks.without_y(), jacobian=False)
        drawn = {name: sites[name] for name in self.structure.data}
        return (
            {name: site.value for name, site in drawn.items()},
            {name: site.fn.mean.expand(site.value.shape) for name, site in drawn.items()},
        )

    def _run(self, theta: Tensor, phi: Tensor, tasks: Tasks, jacobian: bool) -> dict[str, Site]:
        def choose(name: str, fn: Any) -> Choice | None:
            if name not in self.slots:
                return None
            slot = self.slots[name]
            u = slot.unflatten(phi if slot.is_phi else theta)
            if name in self.noncentred:
                return _noncentred(fn, u)
            transform = biject_to(fn.support)
            value = transform(u)
            log_prob = fn.log_prob(value)
            if jacobian and not _is_identity(transform):
                log_prob = log_prob + transform.log_abs_det_jacobian(u, value)
            return Choice(value, log_prob)

        return run(self.model, tasks, choose)

    def _collect(self, value_of: Any, tasks: Tasks) -> tuple[Tensor, Tensor]:
        flat: Values = {}

        def choose(name: str, fn: Any) -> Choice | None:
            if name not in self.slots:
                return None
            value = value_of(name, fn)
            if name in self.noncentred:
                base = _base(fn)
                u = (value - base.loc) / base.scale
            else:
                u = biject_to(fn.support).inv(value)
            flat[name] = self.slots[name].flatten(u)
            return Choice(value)

        with at_dtype(tasks.dtype):
            run(self.model, tasks, choose)
        theta = [flat[n] for n, s in self.slots.items() if not s.is_phi]
        phi = [flat[n] for n, s in self.slots.items() if s.is_phi]
        empty = torch.empty(0, dtype=tasks.dtype, device=tasks.device)
        return (
            torch.cat(theta) if theta else empty,
            torch.cat(phi, dim=1) if phi else empty.expand(tasks.num_tasks, 0),
        )

    def _gather(self, sites: Mapping[str, Site], tasks: Tasks) -> Terms:
        zero = tasks.mask.new_zeros((), dtype=tasks.dtype)
        theta, phi, data = zero, zero.expand(tasks.num_tasks), zero.expand(tasks.num_tasks)
        for site in sites.values():
            role, plates = self.structure.nodes[site.name].role, plate_names(site)
            if role is Role.DETERMINISTIC:
                continue
            if TASKS not in plates:
                theta = theta + site.log_prob.sum()
            elif DATA in plates:
                data = data + _by_task(_masked(site.log_prob, tasks))
            else:
                phi = phi + _by_task(site.log_prob)
        return Terms(theta, phi, data)


def _by_task(log_prob: Tensor) -> Tensor:
    """(..., tasks, data) summed to (tasks,)."""
    summed = log_prob.sum(-1)
    return summed.flatten(0, -2).sum(0) if summed.dim() > 1 else summed


def _masked(log_prob: Tensor, tasks: Tasks) -> Tensor:
    return torch.where(tasks.mask, log_prob, 0.0) if tasks.ragged else log_prob


def _is_identity(transform: Any) -> bool:
    while hasattr(transform, "base_transform"):
        transform = transform.base_transform
    return transform == torch.distributions.transforms.identity_transform


def _base(fn: Any) -> Any:
    while type(fn).__name__ in ("Independent", "ExpandedDistribution"):
        fn = fn.base_dist
    return fn


def _noncentred(fn: Any, u: Tensor) -> Choice:
    base = _base(fn)
    value = base.loc + base.scale * u
    given = {name: getattr(base, name) for name in base.arg_constraints}
    standard = type(base)(**{**given, "loc": torch.zeros_like(u), "scale": torch.ones_like(u)})
    log_prob = standard.log_prob(u)
    for _ in range(len(fn.event_shape)):
        log_prob = log_prob.sum(-1)
    return Choice(value, log_prob)


def _check_noncentred(name: str, structure: Structure, sites: Mapping[str, Site]) -> None:
    if name not in structure.phi:
        raise StructureError(
            f"noncentred names '{name}', which is no phi; the phi sites are {structure.phi}"
        )
    if not is_location_scale(sites[name].fn):
        raise StructureError(
            f"noncentred names '{name}', but {type(_base(sites[name].fn)).__name__} has no loc and "
            "scale to pull out; leave it out of noncentred"
        )


def is_location_scale(fn: Any) -> bool:
    """Whether x = loc + scale * u with u of the same family at loc 0, scale 1."""
    constraints = getattr(_base(fn), "arg_constraints", {})
    return (
        {"loc", "scale"} <= set(constraints)
        and fn.support.event_dim == len(fn.event_shape)
        and (_is_identity(biject_to(fn.support)))
    )


def _slots(structure: Structure, sites: Mapping[str, Site]) -> dict[str, Slot]:
    slots, ends = {}, {False: 0, True: 0}
    for name in (*structure.theta, *structure.phi):
        fn, is_phi = sites[name].fn, name in structure.phi
        whole = tuple(fn.batch_shape) + tuple(fn.event_shape)
        shape = tuple(biject_to(fn.support).inverse_shape(torch.Size(whole)))
        axis = len(fn.batch_shape) - 2 if is_phi else 0
        if is_phi:
            shape = shape[:axis] + shape[axis + 1 :]
        size, start = int(torch.Size(shape).numel()), ends[is_phi]
        ends[is_phi] = start + size
        slots[name] = Slot(name, is_phi, start, start + size, shape, axis)
    return slots
