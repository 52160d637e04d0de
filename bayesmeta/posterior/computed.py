"""Deterministic sites at each draw, by level: what a model computes of theta and phi."""

from __future__ import annotations

from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.posterior.at_draws import at_draws, in_chunks, joined


def computed(
    density: Density, theta: Tensor, phi: Tensor, tasks: Tasks, *, is_phi: bool
) -> dict[str, Tensor]:
    """Of each task, (chain, draw, tasks, ...), or of all of them together, (chain, draw, ...).

    None where the tasks are without data.

    Args:
        density: whose model it is.
        theta, phi: unconstrained draws, (chain, draw, ...).
        tasks: whose phi it is.
        is_phi: which of the two.
    """
    structure = density.structure
    names = structure.computed(is_phi=is_phi)
    # Those of a posterior that was loaded might read columns, which it does not hold.
    if not names or not bool(tasks.mask.any()):
        return {}

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor, ...]:
        sites = density.sites(theta, free, given, jacobian=False, priors=False)
        values = [sites[name].value.to(given.dtype) for name in names]
        if not is_phi:
            return tuple(values)
        axes = [structure.nodes[name].tasks_axis for name in names]
        return tuple(
            value.movedim(axis, 0).squeeze(axis + 1)
            for value, axis in zip(values, axes, strict=True)
        )

    if not is_phi:
        return dict(zip(names, at_draws(at, theta, phi, tasks), strict=True))
    chunks = zip(*in_chunks(at_draws, at, theta, phi, tasks), strict=True)
    return dict(zip(names, (joined(each) for each in chunks), strict=True))
