"""What a density says of outcomes: their log density one by one, and their draws and moments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.distributions.wrappers import base_distribution
from bayesmeta.model.checks import is_factor
from bayesmeta.model.density import Density, masked
from bayesmeta.model.enumeration import Summed
from bayesmeta.running.sites import Site, seen


def score(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    """log p(D_i | phi_i, theta) by which a query is judged in training, (tasks,).

    It is `log_likelihood` without the factors that are said of inputs: they weigh phi, and predict
    nothing.
    """
    sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
    return _summed(density, sites, [sites[n].log_prob for n in density.reading.scored], tasks).sum(
        1
    )


def pointwise(
    density: Density, theta: Tensor, phi: Tensor, tasks: Tasks, names: Sequence[str]
) -> Tensor:
    """log p(y_ij | x_ij, phi_i, theta) of these outcomes and factors together, (tasks, data).

    Unweighted, whatever `poutine.scale` says; zero on padding and where nothing was observed.
    Discrete latents of tasks are given with phi, those of datapoints are summed out.
    """
    sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
    found = []
    for name in names:
        shown, plain = seen(sites[name]), sites[name].plain
        found.append(plain if shown is None else torch.where(shown, plain, 0.0))
    return _summed(density, sites, found, tasks)


def _summed(
    density: Density, sites: Mapping[str, Site], log_probs: Sequence[Tensor], tasks: Tasks
) -> Tensor:
    """The sum of log densities of outcomes, over further plates, too, (tasks, data)."""
    summed = density.reading.summed
    if summed is None:
        return masked(torch.stack([_by_cell(x).sum(0) for x in log_probs]).sum(0), tasks)
    given = [*log_probs, *(sites[name].log_prob for name in summed.of_rows)]
    cells = torch.stack(torch.broadcast_tensors(*(summed.cells(x) for x in given))).sum(0)
    return summed.over_rows(cells, tasks.mask)[0]


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
    mixed = None if density.reading.summed is None else _Mixed(density.reading.summed, sites, tasks)
    for name in names:
        site = sites[name]
        each = site.value.to(tasks.dtype), *_moments(site, samples)
        batch = len(density.structure.nodes[name].shape) - density.structure.nodes[name].event_dim
        if mixed is not None:
            each = mixed.of(*each, batch, len(site.fn.event_shape))
        found += [cells_first(x, batch) for x in each]
    return tuple(found)


class _Mixed:
    """Draws and moments of outcomes over the values of discrete latents of datapoints.

    One value is drawn for each datapoint, by which all its outcomes are drawn.
    """

    def __init__(self, summed: Summed, sites: Mapping[str, Site], tasks: Tasks) -> None:
        self.summed, self.weights = summed, None
        if summed.of_rows:
            self.weights = summed.weights(sites[name].log_prob for name in summed.of_rows)
            chances = self.weights[0].reshape(-1, *self.weights.shape[-2:]).movedim(0, -1)
            chances = chances.expand(*tasks.mask.shape, -1)
            self.index = torch.distributions.Categorical(probs=chances).sample()

    def of(
        self, value: Tensor, mean: Tensor, variance: Tensor, batch: int, events: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A draw, mean and variance without the values' dimensions."""
        if self.weights is None:
            return value, mean, variance
        # Chances of classes have a dimension more.
        more = mean.dim() - value.dim() + events
        whole = self.summed.average(mean, self.weights, batch, more)
        square = self.summed.average(variance + mean.square(), self.weights, batch, more)
        drawn = self.summed.picked(value, self.index, batch, events)
        return drawn, whole, (square - whole.square()).clamp(min=0)


def values(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Tensor]:
    """What was observed, by outcome, (tasks, data, ...)."""
    sites = density.outcomes(theta, phi, tasks)
    return {
        n: cells_first(site.value, site.value.dim() - len(site.fn.event_shape))
        for n, site in sites.items()
    }


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


def cells_first(value: Tensor, batch: int) -> Tensor:
    """(plates..., tasks, data, events...) as (tasks, data, plates..., events...)."""
    return value.movedim((batch - 2, batch - 1), (0, 1)) if batch > 2 else value
