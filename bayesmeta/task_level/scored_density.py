"""The density with phi_i as a function of standard normal z_i, given theta: by normal scores."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.distributions import LowRankMultivariateNormal, MultivariateNormal, Normal

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.normal_scores import normal_scores, scores_of
from bayesmeta.distributions.supports import bijection
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.density import Density, log_normal
from bayesmeta.model.flat_vectors import assemble
from bayesmeta.model.prior import prior_mean, prior_sd
from bayesmeta.running.isolation import isolated
from bayesmeta.running.sites import Choice, Site, own_mask


class ScoredDensity(Density):
    """A density in which sites of phi are x = T(z), z standard normal, given what they depend on.

    Where no data are, z_i is N(0, I) exactly, however the sites of phi depend on each other
    (Rosenblatt 1952; docs/decisions/0020). Other sites are as in the density.

    Args:
        density: with phi on its own scale.
        scored: names of sites of phi.

    Attributes:
        plain: the density.
        is_affine: whether all of phi is m + s z, with m and s of theta alone.
    """

    def __init__(self, density: Density, scored: Collection[str]) -> None:
        super().__init__(density.reading, density.noncentred, density.start)
        self.plain, self.scored = density, frozenset(scored)
        structure = density.structure
        self.is_affine = self.scored == set(structure.phi) and all(
            isinstance(base_distribution(density.reading.drawn_from[name]), Normal)
            and set(structure.nodes[name].parents) <= set(structure.theta)
            for name in self.scored
        )
        sizes = {name: self.segments[name].size for name in structure.phi}
        which = [name in self.scored for name, size in sizes.items() for _ in range(size)]
        self._is_scored = torch.tensor(which, dtype=torch.bool, device="cpu")

    def value(self, name: str, fn: Any, u: Tensor) -> Tensor:
        """T(u) of a scored site."""
        return scores_of(fn).to_value(u) if name in self.scored else super().value(name, fn, u)

    def free(self, name: str, fn: Any, value: Tensor) -> Tensor:
        """The inverse of `value`."""
        return (
            scores_of(fn).to_score(value) if name in self.scored else super().free(name, fn, value)
        )

    def choice(self, name: str, fn: Any, u: Tensor, *, jacobian: bool, priors: bool) -> Choice:
        """The value of a latent site at u, with its density."""
        if name in self.scored:
            return Choice(self.value(name, fn, u), log_normal(u, len(fn.batch_shape)))
        return super().choice(name, fn, u, jacobian=jacobian, priors=priors)

    def is_scored(self, like: Tensor) -> Tensor:
        """Which coordinates of phi are standard normal without data, bool (d_phi,)."""
        return self._is_scored.to(like.device)

    def unconstrained(self, theta: Tensor, z: Tensor, tasks: Tasks) -> Tensor:
        """phi on its own unconstrained scale, of scores z, both (tasks, d_phi)."""

        def at(name: str, fn: Any) -> Tensor:
            segment = self.segments[name]
            return self.value(name, fn, segment.unflatten(z if segment.is_phi else theta))

        return self.plain.collect(at, tasks)[1]

    def scores(self, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
        """The inverse of `unconstrained`."""

        def at(name: str, fn: Any) -> Tensor:
            segment = self.segments[name]
            u = segment.unflatten(phi if segment.is_phi else theta)
            return self.plain.value(name, fn, u)

        return self.collect(at, tasks)[1]

    def scale(self, theta: Tensor, tasks: Tasks) -> tuple[Tensor, Tensor]:
        """Where phi is at scores 0, and how far a score of 1 moves it, both (tasks, d_phi).

        Unconstrained phi is about m + s z, and is just that where sites are normal: given those
        before them at scores of 0. Other coordinates have the prior's mean and sd.
        """
        scales = dict[str, Tensor]()

        def middle(name: str, fn: Any) -> Tensor:
            segment = self.segments[name]
            if name in self.scored:
                scales[name] = segment.flatten(_scale(fn))
                return self.value(name, fn, _filled(fn, 0.0))
            return self.plain.value(name, fn, segment.unflatten(mean if segment.is_phi else theta))

        mean = theta.new_zeros(tasks.num_tasks, self.d_phi)
        if len(self.scored) < len(self.structure.phi):
            mean = prior_mean(self.plain, theta, tasks)
        at = self.plain.collect(middle, tasks)[1]
        if len(self.scored) < len(self.structure.phi):
            others = prior_sd(self.plain, theta, at, tasks)
            for name in set(self.structure.phi) - self.scored:
                scales[name] = others[:, self.segments[name].start : self.segments[name].stop]
        return at, assemble(self.segments, scales, tasks)[1]


def by_scores(density: Density, tasks: Tasks) -> ScoredDensity:
    """The density by scores of phi, made once for each density.

    Sites whose normal scores are not known stay as they are, and those that depend on discrete
    latents, or whose density a handler scales or masks.
    """
    if "by_scores" not in density.solvers:
        plain = density.centre_phi()
        density.solvers["by_scores"] = ScoredDensity(plain, _scorable(plain, tasks.sample()))
    found: ScoredDensity = density.solvers["by_scores"]
    return found


def _scorable(density: Density, tasks: Tasks) -> list[str]:
    theta = torch.zeros(density.d_theta, dtype=tasks.dtype, device=tasks.device)
    phi = theta.new_zeros(tasks.num_tasks, density.width(tasks))
    with isolated(seed=0), torch.no_grad():
        sites = density.sites(theta, phi, tasks, jacobian=False)
        return [
            name
            for name, segment in density.segments.items()
            if name in density.structure.phi
            and _is_scorable(density, sites[name], segment.unflatten(phi))
        ]


def _is_scorable(density: Density, site: Site, u: Tensor) -> bool:
    is_plain = site.mask is None or site.mask is True
    is_plain &= isinstance(site.scale, int | float) and site.scale == 1
    scores, summed = normal_scores(site.fn), density.reading.summed
    if not is_plain or scores is None or own_mask(site.fn) is not None:
        return False
    return summed is None or not summed.depends(scores.to_value(u), len(site.fn.event_shape))


def _scale(fn: Any) -> Tensor:
    """The sd of a normal, else half of how far unconstrained x moves from score -1 to 1."""
    kind = base_distribution(fn)
    if isinstance(kind, Normal | MultivariateNormal | LowRankMultivariateNormal):
        sd: Tensor = fn.stddev
        return sd.expand(fn.batch_shape + fn.event_shape)
    at, inverse = scores_of(fn).to_value, bijection(fn).inv
    half = (inverse(at(_filled(fn, 1.0))) - inverse(at(_filled(fn, -1.0)))) / 2
    return torch.where(half > 0, half, 1.0)


def _filled(fn: Any, score: float) -> Tensor:
    return torch.full(bijection(fn).inverse_shape(fn.batch_shape + fn.event_shape), score)
