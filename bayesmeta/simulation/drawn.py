"""A study drawn from a model: theta, phi and y of the density that is fitted, or none at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import EllipsisType
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.padding import fill_padding
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.model import outcomes
from bayesmeta.model.checks import DATA, StructureError, is_factor, plate_names
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_phi_states, draw_prior_states
from bayesmeta.model.structure import Role
from bayesmeta.phi.joint import Joint
from bayesmeta.running.sites import FlatPrior, Site, own_mask
from bayesmeta.theta.base import Fit

# Where in y a site's values are.
_Place = tuple[EllipsisType] | tuple[EllipsisType, int]
# Of log densities that are computed in two ways.
_NEAR = {torch.float32: 1e-3, torch.float64: 1e-8}


class Drawn(NamedTuple):
    """What a study was drawn as, on the unconstrained scale.

    Attributes:
        density: whose phi is centred.
        tasks: with y.
        theta, phi: (d_theta,) and (tasks, width).
        states: joint values of discrete latents, (tasks, any).
    """

    density: Density
    tasks: Tasks
    theta: Tensor
    phi: Tensor
    states: Tensor

    def truth(self, seed: int) -> Draws:
        """Theta and phi as those of a posterior that knows them: one draw."""
        theta, phi, states = (x[None, None] for x in (self.theta, self.phi, self.states))
        known = None if self.density.reading.summed is None else states
        fit = Fit(self.density, self.tasks, theta, phi, known, is_prior=True)
        return Draws(fit, Joint(), is_point=False, seed=seed)

    def unseen(self) -> dict[str, Tensor]:
        """Other outcomes of the same datapoints at the same theta and phi, (tasks, data, ...)."""
        summed, names = self.density.reading.summed, self.density.structure.data
        states = self.states[:, : int(bool(summed and summed.of_tasks))]
        at = torch.cat([self.phi, states], 1)
        found = outcomes.predict(self.density, self.theta, at, self.tasks, names, samples=2)
        return dict(zip(names, found[::3], strict=True))


def draw_study(density: Density, tasks: Tasks, theta: Tensor | None = None) -> Drawn:
    """Theta, phi and y with the design of the tasks, from the current random state.

        theta ~ p(theta),   phi_i ~ p(phi | theta),   y_ij ~ p(y | x_ij, phi_i, theta)

    Args:
        density: one of centred phi, of a model that `check_simulable` lets through.
        tasks: the design: x, sizes, mask.
        theta: unconstrained, (d_theta,); None draws it.

    Raises:
        StructureError: where outcomes were drawn from another density than that of the fit.
        ValueError: where an outcome is no finite number.
    """
    if theta is None:
        theta, phi, states = draw_prior_states(density, tasks)
    else:
        phi, states = draw_prior_phi_states(density, theta, tasks)
    at = torch.cat([phi, states], 1)
    free = density.sites(theta, at, tasks.without_y(), jacobian=False)
    given = density.sites(theta, at, tasks, jacobian=False)
    y = _placed(density, tasks, given, free)
    found = Drawn(density, replace(tasks, y=y, identity=None, index=None), theta, phi, states)
    fitted = density.sites(theta, at, found.tasks, jacobian=False)
    for name, site in free.items():
        if density.structure.nodes[name].role is not Role.DETERMINISTIC:
            pairs = [*_masks(site, fitted[name]), *_masks(site, given[name])]
            _check_same(site, [(site.plain, fitted[name].plain), *pairs], tasks)
    return found


def check_simulable(density: Density, tasks: Tasks) -> None:
    """Refuse a model whose density is not that of any draws.

    Raises:
        StructureError: naming the site, and what to do.
    """
    if tasks.are_episodes or tasks.query is not None:
        what = "episodes" if tasks.are_episodes else "tasks with a query"
        raise StructureError(
            f"simulate got {what}, but it draws y of one set of datapoints a task; give tasks of "
            "their own, made by from_frame, from_arrays or from_list"
        )
    for name, fn in density.reading.drawn_from.items():
        if isinstance(fn, FlatPrior):
            raise StructureError(
                f"site '{name}' has a flat prior ({fn.statement}), of which nothing can be drawn; "
                f"give it one that says what is plausible, as pyro.sample('{name}', "
                "dist.Normal(0.0, 1.0))"
            )
    theta, phi, states = draw_prior_states(density, tasks)
    sites = density.sites(theta, torch.cat([phi, states], 1), tasks, jacobian=False)
    for site in sites.values():
        why = _why_not(site, density.structure.nodes[site.name].role)
        if why:
            raise StructureError(f"{why}, so that the fitted density is not that of any draws")


def _why_not(site: Site, role: Role) -> str:
    """Why a site's density is none of draws; empty where it is."""
    if role is Role.DETERMINISTIC:
        return ""
    if is_factor(site):
        return (
            f"site '{site.name}' is a pyro.factor, which weighs and draws nothing; write it by "
            "pyro.sample, a censored outcome by bm.Censored"
        )
    if not bool((torch.as_tensor(site.scale) == 1).all()):
        return (
            f"site '{site.name}' is weighted by poutine.scale, where simulated data would count "
            "otherwise than they were drawn; drop the weights, or give each row as often as it "
            "counts"
        )
    is_masked = any(m is not None and m is not True for m in (site.mask, own_mask(site.fn)))
    if role in (Role.THETA, Role.PHI) and is_masked:
        return (
            f"latent '{site.name}' is masked, which leaves it a flat prior; drop the mask, or draw "
            "what is not there outside of the model"
        )
    return ""


def _placed(
    density: Density, tasks: Tasks, given: Mapping[str, Site], free: Mapping[str, Site]
) -> Tensor:
    """y with the outcomes that were drawn, each where its site observes it."""
    assert tasks.y is not None
    y = tasks.y.clone()
    for name in density.structure.data:
        drawn, seen = _cells(free[name]).to(y.dtype), _cells(given[name])
        part = _part(seen, tasks)
        if part is None or drawn.shape != seen.shape:
            raise StructureError(
                f"site '{name}' observes other numbers than those of tasks.y, as what is computed "
                "of them, so that draws of it do not tell y; give obs=tasks.y, or "
                "obs=tasks.y[..., k] of several outcomes, and transform y in the tasks"
            )
        if not bool(drawn[tasks.mask].isfinite().all()):
            task = int((~drawn.isfinite().flatten(1).all(1)).nonzero()[0])
            raise ValueError(
                f"site '{name}' drew an outcome that is no finite number in task "
                f"'{tasks.names[task]}'; priors that wide let the model overflow: narrow them"
            )
        y[part] = drawn
    return fill_padding(y, tasks.mask) if tasks.ragged else y


def _part(seen: Tensor, tasks: Tasks) -> _Place | None:
    """Where in y a site's values are, as an index; None where they are not."""
    y = tasks.y
    assert y is not None
    places: list[_Place] = [(...,)]
    if y.dim() > 2:
        places += [(..., k) for k in range(y.shape[-1])]
    for place in places:
        mine = y[place]
        if mine.shape == seen.shape and torch.equal(mine[tasks.mask], seen[tasks.mask].to(mine)):
            return place
    return None


def _check_same(site: Site, pairs: Sequence[tuple[Tensor, Tensor]], tasks: Tasks) -> None:
    """Refuse a site of which something is another once y is given than as it was drawn."""
    near, is_by_row = _NEAR.get(tasks.dtype, 1e-2), DATA in plate_names(site)
    for pair in pairs:
        one, other = torch.broadcast_tensors(*(x.to(tasks.dtype) for x in pair))
        if is_by_row and one.shape[-2:] == tasks.mask.shape:
            one, other = one[..., tasks.mask], other[..., tasks.mask]
        if not torch.allclose(one, other, rtol=near, atol=near, equal_nan=True):
            raise StructureError(
                f"the density of site '{site.name}' reads y (at other datapoints, or by a mask or "
                "a prior made from y), and is another once y is given than when it is drawn; write "
                "it by latents, columns of x and its own y alone, or simulate by code of your own"
            )


def _masks(one: Site, other: Site) -> list[tuple[Tensor, Tensor]]:
    pairs = (one.mask, other.mask), (own_mask(one.fn), own_mask(other.fn))
    known = [[torch.as_tensor(True if m is None else m) for m in pair] for pair in pairs]
    return [(a, b) for a, b in known]


def _cells(site: Site) -> Tensor:
    """The values of an outcome, (tasks, data, ...)."""
    return outcomes.cells_first(site.value, site.value.dim() - len(site.fn.event_shape))
