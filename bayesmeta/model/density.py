"""log p(theta), log p(phi_i | theta) and log p(D_i | phi_i, theta) as pure functions of tensors."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import biject_to

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import (
    DATA,
    TASKS,
    StructureError,
    base_distribution,
    check_value,
    distribution_name,
    plate_names,
)
from bayesmeta.model.flat_vectors import lay_out
from bayesmeta.model.handlers import Choice, Model, Site, isolated, run
from bayesmeta.model.location_scale import (
    check_noncentred,
    has_mean,
    is_identity,
    median,
    place_noncentred,
)
from bayesmeta.model.structure import Role, Structure

Values = dict[str, Tensor]


class Terms(NamedTuple):
    """The three factors of the joint log density: shapes (), (tasks,) and (tasks,)."""

    theta: Tensor
    phi: Tensor
    data: Tensor


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
        # What strategies have made for this density, by kind; it lives as long as the density.
        self.solvers: dict[Hashable, Any] = {}
        with isolated(seed=0), torch.no_grad():
            sites = run(model, tasks.sample())
        for name in self.noncentred:
            check_noncentred(name, structure, sites)
        self.slots = lay_out(structure, sites)
        self._without_mean = {n for n in self.slots if not has_mean(sites[n].fn)}
        real = [
            torch.full((s.stop - s.start,), is_identity(biject_to(sites[n].fn.support)))
            for n, s in self.slots.items()
            if s.is_phi
        ]
        # Which coordinates of phi are their own unconstrained ones, (d_phi,).
        self.real_phi = torch.cat([torch.empty(0, dtype=torch.bool), *real])
        self.d_theta = max((s.stop for s in self.slots.values() if not s.is_phi), default=0)
        self.d_phi = max((s.stop for s in self.slots.values() if s.is_phi), default=0)

    def noncentre(self, names: Sequence[str], tasks: Tasks) -> Density:
        """The same density with the phi sites `names` as loc + scale * u."""
        return Density(self.model, self.structure, tasks, names)

    def terms(self, theta: Tensor, phi: Tensor, tasks: Tasks, *, jacobian: bool = True) -> Terms:
        """The terms at unconstrained theta (d_theta,) and phi (tasks, d_phi).

        With jacobian=False they are densities of the constrained values, whose maximum is MAP.
        """
        return self._gather(self._run(theta, phi, tasks, jacobian), tasks)

    def log_likelihood(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """log p(D_i | phi_i, theta), (tasks,): the last of the terms, without the priors' work."""
        sites = self._run(theta, phi, tasks, jacobian=False, priors=False)
        return self._gather(sites, tasks).data

    def score(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """The outcomes' log p(y_i | x_i, phi_i, theta), (tasks,), by which a query is judged.

        It is `log_likelihood` without factors, which weigh phi and predict nothing.
        """
        return self.pointwise(theta, phi, tasks).sum(1)

    def terms_at(self, values: Mapping[str, Tensor], tasks: Tasks) -> Terms:
        """The terms at constrained values, phi of shape (tasks, ...) as a posterior holds them."""
        inner = {name: self.slots[name].unpublish(v) for name, v in values.items()}
        sites = run(self.model, tasks, lambda name, fn: Choice(inner[name]))
        return self._gather(sites, tasks)

    def pointwise(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """log p(y_ij | x_ij, phi_i, theta) of every datapoint (tasks, data); zero on padding."""
        sites = self._run(theta, phi, tasks, jacobian=False, priors=False)
        observed = [_by_cell(sites[name].log_prob) for name in self.structure.data]
        return _masked(torch.stack(observed).sum(0), tasks)

    def constrain(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Values:
        """The sites' values at unconstrained vectors; phi sites of shape (tasks, ...)."""
        sites = self._run(theta, phi, tasks, jacobian=False)
        return {name: slot.publish(sites[name].value) for name, slot in self.slots.items()}

    def unconstrain(self, values: Mapping[str, Tensor], tasks: Tasks) -> tuple[Tensor, Tensor]:
        """The inverse of `constrain`."""

        def given(name: str, fn: Any) -> Tensor:
            return self.slots[name].unpublish(values[name])

        return self._collect(given, tasks)

    def theta_at(self, values: Mapping[str, Tensor], tasks: Tasks) -> Tensor:
        """Unconstrained theta (d_theta,) at constrained values of the shared sites.

        Raises:
            StructureError: where a site is missing, unknown, of another shape, or out of support.
        """
        wanted = self.structure.theta
        if set(values) != set(wanted):
            raise StructureError(
                f"values were given for {', '.join(values) or 'no site'}, but the model's shared "
                f"sites are {', '.join(wanted) or 'none'}; give one value for each of them"
            )

        def given(name: str, fn: Any) -> Tensor:
            if self.slots[name].is_phi:
                return fn.sample()
            value = torch.as_tensor(values[name]).to(tasks.mask.device, tasks.dtype)
            check_value(name, value, fn)
            return value

        with isolated(seed=0), torch.no_grad():
            return self._collect(given, tasks.sample())[0]

    def draw_prior(self, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """One draw of unconstrained theta and phi from the prior, from the current random state."""
        return self._collect(lambda name, fn: fn.sample(), tasks)

    def draw_phi(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """One draw of unconstrained phi (tasks, d_phi) from p(phi | theta); y is not read."""

        def drawn(name: str, fn: Any) -> Tensor:
            if self.slots[name].is_phi:
                return fn.sample()
            return biject_to(fn.support)(self.slots[name].unflatten(theta))

        return self._collect(drawn, tasks)[1]

    def start(self, tasks: Tasks) -> Tensor:
        """Unconstrained theta (d_theta,) at the means of its priors, for training to start from.

        A parameter is at its own start, a site without a mean at its median, and at 0 on the
        unconstrained scale where it has neither.
        """

        def middle(name: str, fn: Any) -> Tensor:
            whole = fn.batch_shape + fn.event_shape
            try:
                return self._middle(name, fn).expand(whole)
            except StructureError:
                support = biject_to(fn.support)
                return support(torch.zeros(support.inverse_shape(whole), dtype=tasks.dtype))

        with isolated(seed=0), torch.no_grad():
            return self._collect(middle, tasks.sample())[0].clone()

    def prior_mean(self, theta: Tensor, tasks: Tasks) -> Tensor:
        """The mean of p(phi | theta), unconstrained, of shape (tasks, d_phi).

        A site without a finite mean (Cauchy) has its median instead.

        Raises:
            StructureError: where a site has neither.
        """

        def mean(name: str, fn: Any) -> Tensor:
            if self.slots[name].is_phi:
                return self._middle(name, fn)
            return biject_to(fn.support)(self.slots[name].unflatten(theta))

        return self._collect(mean, tasks)[1]

    def prior_sd(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """The sd of p(phi | theta) where phi is real, (tasks, d_phi); 1 elsewhere.

        A site without a finite sd (Cauchy) has its scale instead. Where a phi site depends on
        another, it is that at the phi given.
        """
        parts = []
        for name, fn in self.distributions(theta, phi, tasks).items():
            slot = self.slots[name]
            if not is_identity(biject_to(fn.support)):
                parts.append(phi.new_ones(len(phi), slot.stop - slot.start))
                continue
            base = base_distribution(fn)
            sd = base.scale if name in self._without_mean else fn.stddev
            parts.append(slot.flatten(sd.expand(fn.batch_shape + fn.event_shape)))
        return torch.cat(parts, 1)

    def _middle(self, name: str, fn: Any) -> Tensor:
        try:
            return median(fn) if name in self._without_mean else fn.mean
        except NotImplementedError:
            raise StructureError(
                f"site '{name}' ({distribution_name(fn)}) has no finite mean and no quantiles, so "
                "there is no point to start from; choose another family"
            ) from None

    def distributions(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Any]:
        """What each phi site is drawn from at theta and phi."""
        sites = self._run(theta, phi, tasks, jacobian=False)
        return {name: sites[name].fn for name in self.structure.phi}

    def outcomes(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Site]:
        """The observed sites at theta and phi, with what they are drawn from."""
        sites = self._run(theta, phi, tasks, jacobian=False, priors=False)
        return {name: sites[name] for name in self.structure.data}

    @property
    def has_data_factors(self) -> bool:
        """Whether a `pyro.factor` is in the plate "data"."""
        nodes = self.structure.nodes.values()
        return any(
            node.role is Role.FACTOR and DATA in {p.name for p in node.plates} for node in nodes
        )

    def predict(
        self, theta: Tensor, phi: Tensor, tasks: Tasks
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
        """A draw of each outcome given theta and phi, its mean and variance; (tasks, data, ...).

        A categorical outcome has those of its classes' indicators, with one more dimension.
        """
        sites = self._run(theta, phi, tasks.without_y(), jacobian=False)
        drawn = {name: sites[name] for name in self.structure.data}
        moments = {name: _moments(site) for name, site in drawn.items()}
        return (
            {name: site.value.to(tasks.dtype) for name, site in drawn.items()},
            {name: mean for name, (mean, _) in moments.items()},
            {name: variance for name, (_, variance) in moments.items()},
        )

    def _run(
        self, theta: Tensor, phi: Tensor, tasks: Tasks, jacobian: bool, priors: bool = True
    ) -> dict[str, Site]:
        def choose(name: str, fn: Any) -> Choice:
            if name not in self.slots:
                # An outcome to predict. Pyro would draw it in place, which vmap does not batch.
                return Choice(fn.sample())
            slot = self.slots[name]
            u = slot.unflatten(phi if slot.is_phi else theta)
            if name in self.noncentred:
                return place_noncentred(fn, u)
            transform = biject_to(fn.support)
            value = transform(u)
            if not priors:
                return Choice(value, value.new_zeros(1, 1))
            log_prob = fn.log_prob(value)
            if jacobian and not is_identity(transform):
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
                base = base_distribution(fn)
                u = (value - base.loc) / base.scale
            else:
                u = biject_to(fn.support).inv(value)
            flat[name] = self.slots[name].flatten(u)
            return Choice(value)

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


def _moments(site: Site) -> tuple[Tensor, Tensor]:
    shape = site.value.shape
    if isinstance(base_distribution(site.fn), torch.distributions.Categorical):
        chances: Tensor = site.fn.probs.expand(*shape, -1)
        return chances, chances * (1 - chances)
    try:
        variance: Tensor = site.fn.variance
    except NotImplementedError:
        variance = torch.full_like(site.fn.mean, torch.nan)
    return site.fn.mean.expand(shape), variance.expand(shape)


def _by_cell(log_prob: Tensor) -> Tensor:
    """(..., tasks, data) summed over further plates to (tasks, data)."""
    return log_prob.flatten(0, -3).sum(0) if log_prob.dim() > 2 else log_prob


def _by_task(log_prob: Tensor) -> Tensor:
    """(..., tasks, data) summed to (tasks,)."""
    summed = log_prob.sum(-1)
    return summed.flatten(0, -2).sum(0) if summed.dim() > 1 else summed


def _masked(log_prob: Tensor, tasks: Tasks) -> Tensor:
    return torch.where(tasks.mask, log_prob, 0.0) if tasks.ragged else log_prob
