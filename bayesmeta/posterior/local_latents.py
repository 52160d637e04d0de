"""Latents of datapoints at rows that are asked for: those inferred of these rows, or new ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.isolation import isolated
from bayesmeta.model.prior import redraw_local
from bayesmeta.posterior.at_draws import in_chunks, joined, random_at_draws
from bayesmeta.posterior.own_tasks import have_rows_of


def at_rows(
    density: Density, theta: Tensor, phi: Tensor, own: Tasks, tasks: Tasks, seed: int
) -> Tensor:
    """phi (chain, draw, tasks, width) for the rows of `tasks`.

    What was inferred of a row is said of that row; of others, latents are drawn from
    p(. | phi, theta) for each draw.

    Args:
        density: whose phi it is.
        theta: unconstrained draws (chain, draw, d_theta).
        phi: of `own`, (chain, draw, tasks, width).
        own: the tasks by whose rows phi was inferred.
        tasks: the same tasks, perhaps at other rows.
        seed: of what is drawn.
    """
    if not density.d_local:
        return phi
    if _are_rows_of(own, tasks):
        return pad(phi, (0, density.width(tasks) - phi.shape[-1]))

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        return (redraw_local(density, theta, free, given),)

    with isolated(seed):
        outputs = in_chunks(random_at_draws, at, theta, phi, tasks)
    return joined([found for (found,) in outputs])


def _are_rows_of(own: Tasks, tasks: Tasks) -> bool:
    """Whether inputs, and outcomes where both have them, are those of a posterior's own rows."""
    if not bool(own.mask.any()) or not have_rows_of(own, tasks):
        return False
    if own.y is None or tasks.y is None:
        return True
    width = max(own.num_data, tasks.num_data)
    known, asked = (t.to(own.device, own.dtype).widen(width).y for t in (own, tasks))
    assert known is not None and asked is not None
    return known.shape == asked.shape and torch.equal(known, asked)
