"""Which of a posterior's tasks are given, and what is known of their rows."""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor
from torch.nn.functional import pad

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import in_chunks, joined, random_at_draws
from bayesmeta.engine.noise import seeds
from bayesmeta.model.density import Density
from bayesmeta.model.prior import redraw_local
from bayesmeta.running.isolation import isolated


class Own(Enum):
    """The default of what asks for tasks; not None, as that is the query of tasks without one."""

    TASKS = "the posterior's own"


def have_rows_of(own: Tasks, tasks: Tasks) -> bool:
    """Whether the tasks given, which are these of a posterior's own, have the same inputs."""
    if own.sizes.tolist() != tasks.sizes.tolist():
        return False
    width = max(own.num_data, tasks.num_data)
    known, asked = own.widen(width), tasks.to(own.device, own.dtype).widen(width)
    pairs = [(known.x[name], column) for name, column in asked.x.items() if name in known.x]
    return all(a.shape == b.shape and torch.equal(a, b) for a, b in pairs)


def places_among(tasks: Tasks | None, own: Tasks) -> list[int]:
    """The places among `own` of the tasks given: the same tasks, perhaps at other datapoints.

    Raises:
        TypeError: where they are no Tasks.
        TasksError: where one of them is not among `own`, or may be another at the same position.
    """
    if tasks is None:
        raise TypeError(
            "got None; tasks without a query have query=None: make one by support, query = "
            "tasks.split(shots), or leave the argument out for the posterior's own datapoints"
        )
    if not isinstance(tasks, Tasks):
        raise TypeError(
            f"got a {type(tasks).__name__}; give bm.Tasks, made by from_frame, from_arrays or "
            "from_list"
        )
    if None not in (tasks.origin, own.origin) and tasks.origin is not own.origin:
        raise TasksError(
            "these tasks and the posterior's were made apart and have no names, so that they "
            "may be others; if they are the same, say so, from_arrays(..., names=[...]), and "
            "else call posterior.adapt(support) of other tasks first"
        )
    if tasks.names == own.names:
        return list(range(len(own)))
    place = {name: i for i, name in enumerate(own.names)}
    if len(place) < len(own) or not place.keys() >= set(tasks.names):
        raise TasksError(
            f"the posterior holds phi of {len(own)} tasks {list(own.names[:4])} ..., but "
            f"{len(tasks)} tasks {list(tasks.names[:4])} ... are given; predict for its own tasks, "
            "or adapt to the others first: posterior.adapt(support), or, where nothing of them was "
            "observed, posterior.adapt(tasks.without_data())"
        )
    return [place[name] for name in tasks.names]


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

    Raises:
        TasksError: for other rows of a model whose rows depend on each other through such latents,
            as a random walk's do.
    """
    if not density.d_local:
        return phi
    if _are_rows_of(own, tasks):
        return pad(phi, (0, density.width(tasks) - phi.shape[-1]))

    _check_apart(density, theta[0, 0], phi[0, 0], own)

    def at(theta: Tensor, free: Tensor, given: Tasks) -> tuple[Tensor]:
        return (redraw_local(density, theta, free, given),)

    # Numbers of their own: at the seed itself outcomes are drawn, of what would be the same noise.
    with isolated(seeds(seed, 1)[0]):
        outputs = in_chunks(random_at_draws, at, theta, phi, tasks)
    return joined([found for (found,) in outputs])


def _check_apart(density: Density, theta: Tensor, phi: Tensor, own: Tasks) -> None:
    """Refuse rows that depend on each other: does what is latent of the first move others?

    A posterior that was loaded has no rows by which to see it.
    """
    moved = phi.clone()
    moved[:, density.d_phi : density.d_phi + density.d_local] += 0.5
    before, after = (density.sites(theta, p, own, jacobian=False) for p in (phi, moved))
    for name in (*density.structure.data, *density.structure.local):
        ours, others = (sites[name].log_prob[..., 1:].nan_to_num() for sites in (before, after))
        if not torch.equal(ours, others):
            raise TasksError(
                f"these are other rows than those that were fitted, but '{name}' of a row depends "
                f"on latents of other rows ({', '.join(density.structure.local)}), which no new "
                "row has; predict the posterior's own rows, or give each row what it needs by "
                "columns"
            )


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
