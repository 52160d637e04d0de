"""What a density says of outcomes: their log density one by one, and their draws and moments."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import base_distribution
from bayesmeta.model.density import Density, masked
from bayesmeta.model.sites import Site


def score(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    """The outcomes' log p(y_i | x_i, phi_i, theta), (tasks,), by which a query is judged.

    It is `log_likelihood` without factors, which weigh phi and predict nothing.
    """
    return pointwise(density, theta, phi, tasks).sum(1)


def pointwise(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> Tensor:
    """log p(y_ij | x_ij, phi_i, theta) of every datapoint (tasks, data); zero on padding."""
    sites = density.sites(theta, phi, tasks, jacobian=False, priors=False)
    observed = [_by_cell(sites[name].log_prob) for name in density.structure.data]
    return masked(torch.stack(observed).sum(0), tasks)


def predict(
    density: Density, theta: Tensor, phi: Tensor, tasks: Tasks
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """A draw of each outcome given theta and phi, its mean and variance; (tasks, data, ...).

    A categorical outcome has those of its classes' indicators, with one more dimension.
    """
    sites = density.sites(theta, phi, tasks.without_y(), jacobian=False)
    drawn = {name: sites[name] for name in density.structure.data}
    moments = {name: _moments(site) for name, site in drawn.items()}
    return (
        {name: site.value.to(tasks.dtype) for name, site in drawn.items()},
        {name: mean for name, (mean, _) in moments.items()},
        {name: variance for name, (_, variance) in moments.items()},
    )


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
