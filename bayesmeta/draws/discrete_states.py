"""What is known of discrete latents that were summed out: their chances, and draws of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import at_draws, in_chunks, joined
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.enumeration import Summed, cells_of
from bayesmeta.running.sites import Site


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
        sites = density.sites(theta, phi, given, jacobian=False)
        found = summed.drawn(*_posterior(density, sites, given), uniform)
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
        sites = density.sites(theta, free, given, jacobian=False)
        found = summed.marginals(*_posterior(density, sites, given))
        return tuple(_where_there(summed, name, x, sites, given) for name, x in found.items())

    outputs = zip(*in_chunks(at_draws, at, theta, phi, tasks), strict=True)
    return {name: joined(x) for name, x in zip(summed.names, outputs, strict=True)}


def chances_of_drawn(density: Density, states: Tensor, tasks: Tasks) -> dict[str, Tensor]:
    """0 and 1 for the values that were drawn, of latents of which nothing else is known.

    Args:
        density: whose latents they are.
        states: joint values, (chain, draw, tasks, columns of `Summed`).
        tasks: whose they are.
    """
    summed = density.reading.summed
    assert summed is not None
    flat, found = states.flatten(0, 1), dict[str, Tensor]()
    for name in summed.names:
        each = [summed.indicators(name, columns, tasks.num_data) for columns in flat]
        value = torch.stack(each).reshape(*states.shape[:2], *each[0].shape)
        there = tasks.mask[..., None]
        found[name] = torch.where(there, value, torch.nan) if name in summed.of_rows else value
    return found


def places_apart(density: Density, theta: Tensor, phi: Tensor, tasks: Tasks) -> dict[str, float]:
    """Of sites of phi whose prior's mean depends on discrete latents: how far it moves, in its sds.

    Args:
        density: whose sites they are.
        theta, phi: unconstrained, (d_theta,) and (tasks, width).
        tasks: whose phi it is.
    """
    summed, found = density.reading.summed, dict[str, float]()
    if summed is None:
        return found
    sites = density.sites(theta, phi, tasks, jacobian=False)
    for name in density.structure.phi:
        fn, events = sites[name].fn, len(sites[name].fn.event_shape)
        if name in density.without_mean or not summed.depends(fn.mean, events):
            continue
        mean = fn.mean.flatten(0, fn.mean.dim() - summed.plates - events - 1)
        sd = fn.stddev.expand(fn.batch_shape + fn.event_shape).min()
        found[name] = float((mean.amax(0) - mean.amin(0)).max() / sd)
    return found


def _where_there(
    summed: Summed, name: str, value: Tensor, sites: Mapping[str, Site], tasks: Tasks
) -> Tensor:
    """NaN for latents of padding, and those that the model masks."""
    there = sites[name].there
    assert there is not None
    there = summed.cells(there.to(value))[0, 0] > 0
    if name in summed.of_tasks:
        return torch.where(there.expand(tasks.num_tasks, 1), value, torch.nan)
    return torch.where((tasks.mask & there)[..., None], value, torch.nan)


def _posterior(density: Density, sites: Mapping[str, Site], tasks: Tasks) -> tuple[Tensor, Tensor]:
    summed = density.reading.summed
    assert summed is not None
    of_tasks, _, whole = cells_of(summed, density.structure, sites, tasks)
    return summed.posterior(of_tasks, whole, tasks.mask)
