"""Outcomes of new rows by a formula: groups that are known have their own effects, others new ones.

eta = X beta + offset + Z u,   u of a known group by its draws, of a new one u ~ N(0, Sigma)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyro.distributions as dist
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.predict import Prediction
from bayesmeta.formula.design import INTERCEPT, Effects
from bayesmeta.formula.families import OWN_SITES
from bayesmeta.formula.grouping import Factor, Place
from bayesmeta.formula.plan import Plan, factor_site, sd_site
from bayesmeta.formula.tables import shift, site
from bayesmeta.running.isolation import isolated

if TYPE_CHECKING:
    from bayesmeta.posterior.posterior import Posterior


def predict(plan: Plan, post: Posterior, tasks: Tasks, repeats: int, seed: int) -> Prediction:
    """Outcomes of the rows of these tasks, which may be known to the posterior or not.

    Args:
        plan: of the formula.
        post: of a fit of its source.
        tasks: the rows in the formula's columns; groups of numbers beyond a plate are new ones.
        repeats: outcomes, and new groups, for each draw of theta, side by side along draw.
        seed: of new groups' effects and of outcomes.
    """
    with isolated(seed), torch.no_grad():
        parts = [_once(plan, post, tasks) for _ in range(repeats)]
    draws, means, variances = (torch.cat(found, 1) for found in zip(*parts, strict=True))
    return Prediction(draws, means, variances, tasks)


def _once(plan: Plan, post: Posterior, tasks: Tasks) -> list[Tensor]:
    """Outcomes, their means and variances, each (chain, draw, tasks, data, ...)."""
    eta = _common(plan, post, tasks)
    for factor in plan.factors:
        for effects in plan.design.effects:
            if effects.factor == factor.name:
                eta = eta + _varying(plan, post, tasks, factor, effects)
    fn = _outcome(plan, post, tasks, eta)
    shape = post.fit.theta.shape[:2]
    return [_hidden(x.unflatten(0, shape), tasks) for x in (fn.sample(), *_moments(fn))]


def _common(plan: Plan, post: Posterior, tasks: Tasks) -> Tensor:
    """What all groups share, (draws, tasks, data)."""
    design, draws = plan.design, post.fit.theta.shape[:2].numel()
    eta = torch.zeros(draws, *tasks.mask.shape, dtype=tasks.dtype)
    if plan.has_intercept:
        eta = eta + site(post.theta, INTERCEPT)[:, None, None]
    for label in design.predictors:
        eta = eta + site(post.theta, label)[:, None, None] * tasks.x[label]
    for label in design.offsets:
        eta = eta + tasks.x[label]
    return eta


def _varying(plan: Plan, post: Posterior, tasks: Tasks, factor: Factor, effects: Effects) -> Tensor:
    """What groups add, (draws, tasks, data)."""
    known = torch.stack([shift(plan, post, factor, term) for term in effects.terms], -1)
    at_rows = _of_rows(known, post, tasks, factor, effects)
    columns = [
        torch.ones_like(tasks.mask, dtype=tasks.dtype) if t == INTERCEPT else tasks.x[t]
        for t in effects.terms
    ]
    return (at_rows * torch.stack(columns, -1)).sum(-1)


def _of_rows(
    known: Tensor, post: Posterior, tasks: Tasks, factor: Factor, effects: Effects
) -> Tensor:
    """The effects of each row's group, (draws, tasks, data or 1, terms).

    Args:
        known: (draws, groups, terms), or (draws, tasks, groups, terms) inside tasks.
        post, tasks, factor, effects: as of `_varying`.
    """
    if factor.place is Place.CROSSED:
        number = tasks.x[factor.column].long()
        more = int(number.max()) + 1 - known.shape[1]
        new = _new(post, factor, effects, (max(more, 0),))
        return torch.cat([known, new], 1)[:, number]
    place = {name: at for at, name in enumerate(post.tasks.names)}
    at = torch.tensor([place.get(name, len(place)) for name in tasks.names])
    is_new = at == len(place)
    old = known[:, at.clamp(max=len(place) - 1)]
    if factor.place is Place.TASK:
        new = _new(post, factor, effects, (len(tasks),))
        return torch.where(is_new[:, None], new, old)[:, :, None]
    number = tasks.x[factor.column].long()
    size = max(int(number.max()) + 1, known.shape[2])
    new = _new(post, factor, effects, (len(tasks), size))
    lacks = is_new[:, None] | (torch.arange(size) >= known.shape[2])
    padded = torch.nn.functional.pad(old, (0, 0, 0, size - known.shape[2]))
    every = torch.where(lacks[..., None], new, padded)
    return every[:, torch.arange(len(tasks))[:, None], number]


def _new(post: Posterior, factor: Factor, effects: Effects, size: tuple[int, ...]) -> Tensor:
    """Effects of groups never seen, by the population at each draw, (draws, *size, terms)."""
    sds = torch.stack([site(post.theta, sd_site(term, factor)) for term in effects.terms], -1)
    z = torch.randn(len(sds), *size, len(effects.terms), dtype=sds.dtype)
    over = (len(sds), *[1] * len(size))
    if effects.correlated:
        root = site(post.theta, factor_site(effects))
        z = (root.reshape(*over, *root.shape[1:]) @ z[..., None])[..., 0]
    return z * sds.reshape(*over, -1)


def _outcome(plan: Plan, post: Posterior, tasks: Tasks, eta: Tensor) -> dist.TorchDistribution:
    """The distribution of outcomes that the source states, at this predictor."""
    given = {"dist": dist, "eta": eta, "tasks": tasks}
    for name in OWN_SITES:
        if name in post.theta:
            given[name] = site(post.theta, name)[:, None, None]
    if not plan.family.has_level:
        cut = site(post.theta, "cutpoints")
        given["cutpoints"] = cut.reshape(len(cut), 1, 1, -1)
    return eval(plan.family.outcome, given)


def _moments(fn: dist.TorchDistribution) -> tuple[Tensor, Tensor]:
    """Mean and variance at each draw; of categories, their probabilities in a last dimension."""
    if isinstance(fn, dist.OrderedLogistic):
        return fn.probs, fn.probs * (1 - fn.probs)
    return fn.mean, fn.variance


def _hidden(values: Tensor, tasks: Tasks) -> Tensor:
    """NaN in the cells of (chain, draw, tasks, data, ...) that are padding."""
    hidden = ~tasks.mask.reshape(*tasks.mask.shape, *[1] * (values.dim() - 4))
    return values.to(tasks.dtype).masked_fill(hidden, torch.nan)
