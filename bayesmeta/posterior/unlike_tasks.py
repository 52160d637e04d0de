"""Tasks unlike those that a network was trained on, by what its encoder makes of them."""

from __future__ import annotations

import scipy
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.model.checks import first_few
from bayesmeta.phi.amortised import Amortised

# So many of the tasks trained on, and fewer tell nothing of what is rare among them.
_MOST, _FEWEST = 2000, 200
# Which neighbour's distance counts, and how many times the largest of those trained on is far.
_NEIGHBOUR, _FAR = 5, 1.5
_AT_ONCE = 500
# What is rare, how seldom chance alone is to be told as more, and of how many calls one task.
_RARE, _CHANCE, _SELDOM = 0.05, 1e-4, 0.01
_REMEDY = (
    "What it says of them may be anything: adapt with another strategy, as "
    "post.adapt(tasks, phi=bm.HMC()), or train on such tasks."
)


def unlike_tasks(posterior: Draws) -> tuple[dict[str, float], list[str]]:
    """p of each new task, and sentences on those that are far from what was trained on.

    The distance of a task is that of its encoding from the fifth nearest of those trained on (Sun,
    Ming, Zhu & Li 2022), in their standard deviations; p is the share of these that are as far from
    each other. By chance alone one call in a hundred names a task. Nothing is said without the
    tasks that were trained on, as after loading, or with fewer than 200 of them.
    """
    learned, strategy = posterior.fit.learned_from, posterior.strategy
    if not (isinstance(strategy, Amortised) and posterior.fit.is_adapted):
        return {}, []
    if learned is None or learned.tasks is None or learned.tasks.num_tasks < _FEWEST:
        return {}, []
    known, tasks = learned.tasks, posterior.tasks
    some = torch.linspace(0, len(known) - 1, min(_MOST, len(known))).long()
    trained, new = (
        strategy.encodings(posterior.centred, t, posterior.fit.state).flatten(1).double()
        for t in (known.select(some), tasks)
    )
    sd = trained.std(0)
    trained, new = (x[:, sd > 0] / sd[sd > 0] for x in (trained, new))
    # Of those trained on each is its own nearest.
    apart, far = _distance(trained, trained, _NEIGHBOUR + 1), _distance(new, trained, _NEIGHBOUR)
    p = (1 + (apart >= far[:, None]).sum(1)) / (1 + len(apart))
    named = dict(zip(tasks.names, p.tolist(), strict=True))
    # Those whose numbers are out of range are told of with these.
    told = strategy.unlike(posterior.density, tasks, posterior.fit.state)
    says = (tasks.sizes > 0) & torch.tensor([name not in told for name in tasks.names])
    far_away = says & ((far > _FAR * apart.max()) | (p <= _SELDOM / len(tasks)))
    return named, [*_about_each(tasks, far_away), *_about_all(p[says])]


def _about_each(tasks: Tasks, unlike: Tensor) -> list[str]:
    """Those that are farther than nearly any."""
    which = [tasks.names[i] for i in unlike.nonzero()[:, 0].tolist()]
    if not which:
        return []
    return [
        f"{len(which)} of {len(tasks)} tasks are unlike those that the network was trained on: "
        f"{first_few(which)}: their encodings are farther from those than 99% of these from each "
        f"other. {_REMEDY}"
    ]


def _about_all(p: Tensor) -> list[str]:
    """Where more of them are rare than chance has it."""
    rare = int((p <= _RARE).sum())
    if not scipy.stats.binom.sf(rare - 1, len(p), _RARE) < _CHANCE:
        return []
    return [
        f"{rare} of {len(p)} tasks are among the {_RARE:.0%} that are farthest from those that the "
        f"network was trained on, by their encodings: together they are of another kind. {_REMEDY}"
    ]


def _distance(points: Tensor, others: Tensor, place: int) -> Tensor:
    """From each point to the so-manieth nearest of others, (points,)."""
    return torch.cat(
        [
            torch.cdist(part, others).kthvalue(min(place, len(others)), 1).values
            for part in points.split(_AT_ONCE)
        ]
    )
