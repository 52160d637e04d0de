"""The density of normal outcomes on a few datapoints of each task, and sums over the others."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density, Terms
from bayesmeta.model.prior import draw_prior, prior_mean, theta_sd, theta_start
from bayesmeta.running.isolation import isolated
from bayesmeta.running.sites import Site
from bayesmeta.sufficiency.information import (
    INFORMATION,
    Information,
    has_diagonal_prior,
    has_prior,
    linear_in_phi,
)
from bayesmeta.sufficiency.skeleton import Skeleton, skeleton
from bayesmeta.task_level.curvature import Curvature, Hessian

# Columns of the few datapoints; no model has such names.
_GRAM, _REST = "sufficient gram", "sufficient rest"
_SPARE, _CHECKS = 12, 4
# Numbers of phi for which second derivatives are taken as they are, of this density too.
_MOST = 64
# Numbers of means that are held at once.
_HELD = 20_000_000
# Of models that are run where, and on what, they were not written for.
_FAILURES = RuntimeError, ValueError, LookupError
# Scales of a task's datapoints are in fixed proportion; densities are the same, beside their size.
_PROPORTION, _TOLERANCE = 1e-9, 1e-9


class SufficientDensity(Density):
    """A density whose outcomes y_ij ~ N(m_ij, s_i w_ij) have means that few of them determine:

        m_i = P_i m_i[J],   log p(D_i | phi_i, theta) = -(r_i + d' G_i d) / (2 s_i^2) - n_i log s_i
        d = m_i[J] - u_i,   G_i = P' W P,   u_i = G^{-1} P' W y,   W = diag(w^{-2}),

    without a constant, where r_i is what is left of y' W y at m_i[J] = u_i. It runs the model on
    the datapoints J alone, with u_i for their y; see `sufficient`.
    """

    def _gather(self, sites: Mapping[str, Site], tasks: Tasks) -> Terms:
        (name,) = self.structure.data
        fn = sites[name].fn
        away = fn.loc.expand(tasks.mask.shape) - tasks.y
        scale = fn.scale.expand(tasks.mask.shape)[:, 0]
        left, count, constant = tasks.x[_REST].unbind(-1)
        misfit = left[:, 0] + ((tasks.x[_GRAM] @ away[..., None])[..., 0] * away).sum(-1)
        data = -0.5 * misfit / scale**2 - count[:, 0] * scale.log() - constant[:, 0]
        return super()._gather(sites, tasks)._replace(data=data)


class Short(NamedTuple):
    """The same density on a few datapoints of each task, and the Hessian in phi for it."""

    density: SufficientDensity
    tasks: Tasks
    curvature: Curvature


def sufficient(density: Density, tasks: Tasks) -> Short | None:
    """The same density on a few datapoints of each task; None where that is not known to be so.

    Which they are is found from the means at random theta and phi, whatever the model's code, and
    then tried at others, far and near: densities are the same to rounding, or this is None.

    Args:
        density: the model's density.
        tasks: the data, in float64.
    """
    if not _may_have(density, tasks):
        return None
    with isolated(seed=0), torch.no_grad(), warnings.catch_warnings(), suppress(*_FAILURES):
        # Of a model far from its data, or of a prior without draws or means.
        warnings.simplefilter("ignore")
        return _found(density, tasks)
    return None


def _found(density: Density, tasks: Tasks) -> Short | None:
    for count in (density.d_phi + _SPARE, 2 * density.d_phi + 3 * _SPARE):
        means, scales = _outcomes(density, tasks, count)
        found = None if means is None else skeleton(means, tasks.mask)
        if found is not None or means is None:
            break
    if found is None or 2 * found.rows.shape[1] > tasks.num_data:
        return None
    proportions = _proportions(scales, found, tasks)
    if proportions is None:
        return None
    few = _reduced(tasks, found, proportions)
    short = _short_of(density)
    if not agree(density, tasks, short, few, islice(_places(density, tasks), _CHECKS)):
        return None
    return _with_information(short, few)


def _short_of(density: Density) -> SufficientDensity:
    """It holds no data, so that another study of the same model has the same one."""
    if density.start is not None:
        return SufficientDensity(density.reading, density.noncentred, density.start)
    if "sufficient" not in density.solvers:
        density.solvers["sufficient"] = SufficientDensity(density.reading, density.noncentred)
    found: SufficientDensity = density.solvers["sufficient"]
    return found


def _may_have(density: Density, tasks: Tasks) -> bool:
    structure = density.structure
    is_plain = type(density) is Density and density.reading.summed is None
    has_one = len(structure.data) == 1 and not structure.local and not density.has_data_factors
    is_small = 2 * max(1, density.d_phi) < tasks.num_data and density.d_phi <= _MOST
    held = tasks.num_tasks * tasks.num_data * (density.d_phi + _SPARE)
    is_here = (
        tasks.dtype == torch.float64
        and tasks.device.type == "cpu"
        and tasks.y is not None
        and tasks.query is None
        and not tasks.are_episodes
    )
    return is_plain and has_one and is_here and is_small and held <= _HELD


def _places(density: Density, tasks: Tasks) -> Iterator[tuple[Tensor, Tensor]]:
    """Theta and phi by turns from the prior, and near where searches start."""
    start, sd = theta_start(density, tasks), theta_sd(density, tasks).clamp(max=1.0)
    while True:
        yield draw_prior(density, tasks)
        theta = start + 0.5 * sd * torch.randn_like(start)
        phi = prior_mean(density, theta, tasks)
        yield theta, phi + torch.randn_like(phi)


def _outcomes(density: Density, tasks: Tasks, count: int) -> tuple[Tensor | None, Tensor]:
    """Means and scales at so many places, (tasks, data, count); None where they are not normal."""
    (name,) = density.structure.data
    means, scales = list[Tensor](), list[Tensor]()
    for theta, phi in islice(_places(density, tasks), count):
        fn = density.outcomes(theta, phi, tasks)[name].fn
        if not isinstance(fn, torch.distributions.Normal):
            return None, theta
        means.append(fn.loc.expand(tasks.mask.shape))
        scales.append(fn.scale.expand(tasks.mask.shape))
    return torch.stack(means, -1), torch.stack(scales, -1)


def _proportions(scales: Tensor, found: Skeleton, tasks: Tasks) -> Tensor | None:
    """Scales beside that of the first chosen datapoint, (tasks, data); None if they vary."""
    first = scales[torch.arange(len(scales)), found.rows[:, 0]][:, None]
    logs = torch.where(tasks.mask[..., None], (scales / first).log(), 0.0)
    if not bool((logs - logs[..., :1]).abs().amax() < _PROPORTION):
        return None
    return logs[..., 0].exp()


def _reduced(tasks: Tasks, found: Skeleton, proportions: Tensor) -> Tasks:
    """The chosen datapoints, with what is to be known of the others."""
    assert tasks.y is not None
    weighted = found.weights / proportions[..., None]
    y = torch.where(tasks.mask, tasks.y / proportions, 0.0)
    best = torch.linalg.lstsq(weighted, y[..., None], driver="gelsd").solution[..., 0]
    left = (y - (weighted @ best[..., None])[..., 0]).square().sum(1)
    logs = torch.where(tasks.mask, proportions.log(), 0.0).sum(1)
    count = tasks.sizes.to(y)
    rest = torch.stack([left, count, logs + 0.5 * math.log(2 * math.pi) * count], -1)
    few = tasks.take_rows(found.rows, torch.ones_like(found.rows, dtype=torch.bool))
    columns = {**few.x, _GRAM: weighted.mT @ weighted, _REST: rest[:, None]}
    return replace(few, x=columns, y=best)


def _with_information(density: SufficientDensity, few: Tasks) -> Short:
    """The Hessian by what is known of it, where means are linear in phi."""
    one, other = islice(_places(density, few), 2)
    slopes = linear_in_phi(density, few, one, other) if has_prior(density, few, *one) else None
    if slopes is None:
        return Short(density, few, Hessian())
    curvature = Information(is_diagonal=has_diagonal_prior(density, few, *one))
    known = slopes.mT @ few.x[_GRAM] @ slopes
    return Short(density, replace(few, x={**few.x, INFORMATION: known}), curvature)


def agree(
    density: Density,
    tasks: Tasks,
    short: SufficientDensity,
    few: Tasks,
    places: Iterable[tuple[Tensor, Tensor]],
) -> bool:
    """Whether the densities are the same at these theta and phi."""
    for theta, phi in places:
        try:
            one, other = (d.terms(theta, phi, t) for d, t in ((density, tasks), (short, few)))
        except _FAILURES:
            return False  # A model that reads all of its columns, or how many data there are.
        for a, b in zip(one, other, strict=True):
            if not bool(((a - b).abs() <= _TOLERANCE * (1 + a.abs())).all()):
                return False
    return True
