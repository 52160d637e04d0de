"""How an entropy is found: by a density that is known, by counts of states, or by distances."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from bayesmeta.information.errors import Found, by_mean, by_neighbours, by_states
from bayesmeta.information.known import surprises
from bayesmeta.information.nearest_neighbours import (
    MOST,
    SURE,
    Array,
    UnlikeNormalError,
    entropies_of,
    informations_of,
)
from bayesmeta.information.points import Points, points_of
from bayesmeta.information.sites import behind
from bayesmeta.information.states import entropy_of_states
from bayesmeta.model.checks import StructureError
from bayesmeta.model.structure import Role
from bayesmeta.posterior.posterior import Posterior

Names = tuple[str, ...]
T = TypeVar("T")

_EACH = 25


def entropies(posterior: Posterior, names: Names, k: int) -> list[Found]:
    """H(names) in nats, task by task, or once.

    Raises:
        StructureError: where there are too many numbers, or functions of each other.
        ValueError: where there are too few draws for them, or these have no density.
    """
    known = surprises(posterior, names)
    if known is not None:
        return [by_mean(terms) for terms in known]
    tasks = _joined(points_of(posterior, names))
    if _is_discrete(posterior, names):
        return [by_states(entropy_of_states, [task.real]) for task in tasks]
    for task in tasks:
        _check_numbers(posterior, names, *task.real.shape)
    try:
        return [_entropy(task, k) for task in tasks]
    except UnlikeNormalError as error:
        raise _too_many(names, str(error)) from None


def informations(posterior: Posterior, one: Names, other: Names, k: int) -> list[Found]:
    """I(one; other) in nats, task by task, or once.

    Where the numbers are more than distances surely tell of, and the density of both together is
    known, it is H(one) + H(other) less that.

    Raises:
        StructureError, ValueError: as for `entropies`.
    """
    both = (*one, *other)
    known = [surprises(posterior, names) for names in (one, other, both)]
    first, second, joint = known
    if first is not None and second is not None and joint is not None:
        return [by_mean(a + b - c) for a, b, c in zip(first, second, joint, strict=True)]
    tasks = _paired(_joined(points_of(posterior, one)), _joined(points_of(posterior, other)))
    if _is_discrete(posterior, both):
        return [by_states(_information_of_states, [a.real, b.real]) for a, b in tasks]
    if joint is not None and max(a.real.shape[1] + b.real.shape[1] for a, b in tasks) > SURE:
        each = entropies(posterior, one, k), entropies(posterior, other, k)
        return [_less(a, b, by_mean(c)) for (a, b), c in zip(_paired(*each), joint, strict=True)]
    for a, b in tasks:
        _check_numbers(posterior, both, len(a.real), a.real.shape[1] + b.real.shape[1])
    try:
        return [by_neighbours(informations_of, [a.real, b.real], k) for a, b in tasks]
    except UnlikeNormalError as error:
        raise _too_many(both, str(error)) from None


def _entropy(task: Points, k: int) -> Found:
    """That of the real numbers, and the mean log |dx/du| of the way from there."""

    def estimate(real: Array, stretch: Array, ks: Sequence[int]) -> Array:
        return entropies_of(real, ks) + stretch.mean()

    return by_neighbours(estimate, [task.real, task.stretch], k)


def _information_of_states(one: Array, other: Array) -> float:
    both = np.concatenate([one, other], 1)
    return entropy_of_states(one) + entropy_of_states(other) - entropy_of_states(both)


def _less(one: Found, other: Found, both: Found) -> Found:
    return one[0] + other[0] - both[0], math.hypot(one[1], other[1], both[1])


def _joined(sites: Sequence[list[Points]]) -> list[Points]:
    """The numbers of all sites side by side, task by task."""
    count = max(len(site) for site in sites)
    whole = [site * (count // len(site)) for site in sites]
    return [
        Points(np.concatenate([p.real for p in parts], 1), sum(p.stretch for p in parts))
        for parts in zip(*whole, strict=True)
    ]


def _paired(one: list[T], other: list[T]) -> list[tuple[T, T]]:
    """Task by task; what there is once is the same for all."""
    count = max(len(one), len(other))
    whole = one * (count // len(one)), other * (count // len(other))
    return list(zip(*whole, strict=True))


def _is_discrete(posterior: Posterior, names: Names) -> bool:
    return set(names) <= set(posterior.structure.discrete)


def _check_numbers(posterior: Posterior, names: Names, draws: int, numbers: int) -> None:
    if numbers > MOST:
        raise _too_many(names, f"{numbers} numbers")
    if draws < _EACH * numbers:
        raise ValueError(
            f"there are {draws} draws of {', '.join(names)}, {numbers} numbers, and at least "
            f"{_EACH} for each are needed to estimate this entropy; take more draws"
        )
    structure, segments = posterior.structure, posterior.density.segments
    nodes = [structure.nodes[name] for name in names]
    computed = [node.name for node in nodes if node.role is Role.DETERMINISTIC]
    sources = set(names).difference(computed).union(*(behind(structure, n) for n in computed))
    if not computed or not sources <= set(structure.theta) | set(structure.phi):
        return
    tasks = 1 if all(node.is_by_task for node in nodes) else posterior.tasks.num_tasks
    free = sum(segments[n].size * (tasks if segments[n].is_phi else 1) for n in sources)
    if numbers > free:
        raise StructureError(
            f"{', '.join(names)} are {numbers} numbers that are computed from {free}, those of "
            f"{', '.join(sorted(sources))}, so that they have no density together; leave some out"
        )


def _too_many(names: Names, what: str) -> StructureError:
    return StructureError(
        f"{', '.join(names)} together are {what}, and distances between draws tell the entropy of "
        f"at most {MOST}, and of at most {SURE} where these are far from normal; ask for fewer "
        "sites, or of bm.prior(...) for all that these read, whose density is known"
    )
