"""What a density says of outcomes: their log density one by one, and their draws and moments."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checks import is_factor
from bayesmeta.model.density import Density, masked
from bayesmeta.model.sites import Site, seen


def score(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    """log p(D_i | phi_i, theta) by which a query is judged in training, (tasks,).

    It is `log_likelihood` without the factors that are said of inputs: they weigh phi, and predict
    nothing.
    """
    sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
    found = [_by_cell(sites[name].log_prob).sum(0) for name in density.reading.scored]
    return masked(torch.stack(found).sum(0), tasks).sum(1)


def pointwise(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Tensor]:
    """log p(y_ij | x_ij, phi_i, theta) by outcome, and factors, (tasks, data).

    Unweighted, whatever `poutine.scale` says; zero on padding and where nothing was observed.
    """
    sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
    found = {}
    for name in density.reading.scored:
        shown, plain = seen(sites[name]), sites[name].plain
        plain = plain if shown is None else torch.where(shown, plain, 0.0)
        found[name] = masked(_by_cell(plain).sum(0), tasks)
    return found


def observed(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Tensor]:
    """Which datapoints have each outcome, or factor: bool (tasks, data).

    Those are not that are padding, or masked in the model, or of a factor that is zero.
    """
    sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
    found = {}
    for name in density.reading.scored:
        shown, plain = seen(sites[name]), sites[name].plain
        if is_factor(sites[name]):
            shown = plain != 0
        if shown is not None:
            shown = _by_cell(shown.expand(plain.shape)).any(0)
        found[name] = tasks.mask if shown is None else tasks.mask & shown
    return found


def predict(
    density: Density, theta: Tensor, phi: Tensor, tasks: Tasks, names: Sequence[str], samples: int
) -> tuple[Tensor, ...]:
    """Of each outcome a draw given theta and phi, its mean and variance; (tasks, data, ...).

    A categorical outcome has those of its classes' indicators, with one more dimension. What the
    distribution does not know of mean and variance is estimated by so many samples.
    """
    sites, found = density.sites(theta, phi, tasks.without_y(), jacobian=False), []
    for name in names:
        site = sites[name]
        each = site.value.to(tasks.dtype), *_moments(site, samples)
        found += [_cells_first(x, len(site.fn.batch_shape)) for x in each]
    return tuple(found)


def values(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Tensor]:
    """What was observed, by outcome, (tasks, data, ...)."""
    sites = density.outcomes(theta, phi, tasks)
    return {n: _cells_first(site.value, len(site.fn.batch_shape)) for n, site in sites.items()}


def _moments(site: Site, samples: int) -> tuple[Tensor, Tensor]:
    shape = site.value.shape
    if isinstance(base_distribution(site.fn), torch.distributions.Categorical):
        chances: Tensor = site.fn.probs.expand(*shape, -1)
        return chances, chances * (1 - chances)
    # Of an angle torch knows the mean direction, and a variance that is none of numbers.
    if not isinstance(base_distribution(site.fn), torch.distributions.VonMises):
        try:
            return site.fn.mean.expand(shape), site.fn.variance.expand(shape)
        except NotImplementedError:
            pass
    drawn = site.fn.sample((samples,)).to(site.plain.dtype)
    return drawn.mean(0), drawn.var(0)


def _by_cell(value: Tensor) -> Tensor:
    """(..., tasks, data) with further plates made one, (plates, tasks, data)."""
    return value.reshape(-1, *value.shape[-2:])


def _cells_first(value: Tensor, batch: int) -> Tensor:
    """(plates..., tasks, data, events...) as (tasks, data, plates..., events...)."""
    return value.movedim((batch - 2, batch - 1), (0, 1)) if batch > 2 else value
