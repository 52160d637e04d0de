"""Which datapoints a posterior has seen: theta those it was fitted to, phi those it was given."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import at_draws, in_chunks, joined
from bayesmeta.draws.draws import Draws, where_the_tasks_are
from bayesmeta.draws.same_rows import same_rows
from bayesmeta.model import outcomes
from bayesmeta.posterior.posterior import Posterior

_NAMES = 5


def seen_by_theta(posterior: Posterior, tasks: Tasks) -> Tensor:
    """Which datapoints theta was fitted to, as support or as query, bool (tasks, data).

    None of a posterior that was loaded, which holds no data: see `may_be_seen`.
    """
    learned = posterior.fit.learned_from
    found = torch.zeros_like(tasks.mask.cpu())
    known = None if learned is None else learned.tasks
    while known is not None:
        found |= same_rows(tasks, without_masked(posterior.draws, known))
        known = known.query
    return found


def seen_by_phi(posterior: Posterior, tasks: Tasks) -> Tensor:
    """Which datapoints phi was inferred from, bool (tasks, data)."""
    return same_rows(tasks, without_masked(posterior.draws, posterior.tasks))


def may_be_seen(posterior: Posterior, tasks: Tasks) -> list[str]:
    """Names of tasks that theta of a posterior that was loaded was fitted to, to whichever rows."""
    learned = posterior.fit.learned_from
    if learned is None or learned.tasks is not None or tasks.origin is not None:
        return []
    known = set(learned.names or ())
    return [name for name in tasks.names if name in known]


def notes_on_seen(posterior: Posterior, query: Tasks) -> tuple[str, ...]:
    """Sentences on datapoints of a query that the posterior has, or may have, been fitted to."""
    cells = seen_by_phi(posterior, query) | seen_by_theta(posterior, query)
    found = []
    if cells.any():
        found.append(
            f"{int(cells.sum())} of {int(query.mask.sum())} datapoints were seen in fitting (tasks "
            f"{quoted(with_any(cells, query))}): figures of these are no measure of new data; hold "
            "some out, as by support, query = tasks.split(shots), and fit without them"
        )
    if unsure := may_be_seen(posterior, query):
        found.append(
            f"the posterior was loaded, and theta fitted to tasks of the same names "
            f"({quoted(unsure)}): if these are the same datapoints, it has seen them"
        )
    return tuple(found)


def with_any(cells: Tensor, tasks: Tasks) -> list[str]:
    """Names of the tasks with any of these cells (tasks, data)."""
    return [name for name, any_ in zip(tasks.names, cells.any(1).tolist(), strict=True) if any_]


def quoted(names: list[str]) -> str:
    """Names of tasks in a sentence, the first of them where they are many."""
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(f"'{name}'" for name in names[:_NAMES]) + more


def without_masked(draws: Draws, tasks: Tasks) -> Tasks:
    """The tasks less the datapoints that the model masks, which are seen by nobody."""
    reading = draws.density.reading
    if not set(reading.scored) & {*reading.masked, *draws.structure.data_factors}:
        return tasks
    return replace(tasks, mask=tasks.mask & _unmasked(draws, tasks).to(tasks.device))


@where_the_tasks_are
def _unmasked(draws: Draws, tasks: Tasks) -> Tensor:
    density, given = draws.centred, tasks.to(draws.tasks.device, draws.tasks.dtype)
    phi = torch.zeros(1, 1, len(given), density.width(given), dtype=given.dtype)

    def at(theta: Tensor, free: Tensor, part: Tasks) -> tuple[Tensor]:
        return (torch.stack(list(outcomes.observed(density, theta, free, part).values())).any(0),)

    outputs = in_chunks(at_draws, at, draws.fit.theta[:1, :1], phi, given)
    return joined([values for (values,) in outputs])[0, 0]
