"""What is known of discrete latents that were summed out: their chances, and draws of them."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.enumeration import cells_of
from bayesmeta.posterior.at_draws import at_draws, in_chunks, joined


def draw_states(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks, seed: int) -> Tensor:
    """Joint values drawn from p(z | phi, theta, D), (chain, draw, tasks, columns of `Summed`).

    Args:
        density: whose latents they are.
        theta, phi: draws, (chain, draw, ...), centred.
        tasks: whose outcomes tell of them.
        seed: of which each task has numbers of its own.
    """
    summed = density.reading.summed
    assert summed is not None
    noise = TaskNoise(torch.Generator().manual_seed(seed), tasks)
    shape = (*theta.shape[:2], tasks.num_tasks, 1 + tasks.num_data)
    uniform = noise.uniforms(shape, phi.dtype)
    width = phi.shape[-1]

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        phi, uniform = free.tensor_split([width], 1)
        found = summed.drawn(*_posterior(density, theta, phi, given), uniform)
        return (found.to(phi.dtype),)

    outputs = in_chunks(at_draws, at, theta, torch.cat([phi, uniform], -1), tasks)
    return joined([found for (found,) in outputs])


def chances(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, Tensor]:
    """p(z = value | phi, theta, D) by latent, (chain, draw, tasks, values).

    Those of datapoints are (chain, draw, tasks, data, values), NaN on padding.
    """
    summed = density.reading.summed
    if summed is None:
        return {}

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
        found = summed.marginals(*_posterior(density, theta, free, given))
        rows = given.mask[..., None]
        return tuple(
            torch.where(rows, x, torch.nan) if name in summed.of_rows else x
            for name, x in found.items()
        )

    outputs = zip(*in_chunks(at_draws, at, theta, phi, tasks), strict=True)
    return {name: joined(x) for name, x in zip(summed.names, outputs, strict=True)}


def _posterior(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> tuple[Tensor, Tensor]:
    summed = density.reading.summed
    assert summed is not None
    sites = density.sites(theta, phi, tasks, jacobian=False)
    of_tasks, _, whole = cells_of(summed, density.structure, sites, tasks)
    return summed.posterior(of_tasks, whole, tasks.mask)
