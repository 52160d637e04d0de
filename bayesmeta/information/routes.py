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
    Term,
    entropy_terms,
    information_terms,
    is_unlike_normal,
)
from bayesmeta.information.points import Points, points_of
from bayesmeta.information.sites import all_discrete, behind
from bayesmeta.information.states import entropy_of_states
from bayesmeta.model.checks import StructureError
from bayesmeta.model.structure import Role
from bayesmeta.posterior.posterior import Posterior

Names = tuple[str, ...]
T = TypeVar("T")

_EACH, _EACH_OF_MANY = 25, 100
_TOO_MANY = (
    f"but distances between draws tell the entropy of at most {MOST}, and of at most {SURE} where "
    "they are far from normal; ask for fewer sites, or of bm.prior(...) for all that these read, "
    "whose density is known"
)


def entropies(posterior: Posterior, names: Names, k: int) -> list[Found]:
    """H(names) in nats, task by task, or once.

    Raises:
        StructureError: where there are too many numbers, or functions of each other.
        ValueError: where there are too few draws for them, or these have no density.
    """
    known = surprises(posterior, names)
    if known is not None:
        return [by_mean(terms) for terms in known]
    is_discrete = all_discrete(posterior.structure, names)
    tasks = _joined(points_of(posterior, names))
    if is_discrete:
        return [by_states(entropy_of_states, [task.real]) for task in tasks]
    for task in tasks:
        _check_points(posterior, names, task.real)
    return [by_neighbours(_entropy, [task.real, task.stretch], k) for task in tasks]


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
    is_discrete = all_discrete(posterior.structure, both)
    tasks = _paired(_joined(points_of(posterior, one)), _joined(points_of(posterior, other)))
    if is_discrete:
        return [by_states(_information_of_states, [a.real, b.real]) for a, b in tasks]
    if joint is not None and max(a.real.shape[1] + b.real.shape[1] for a, b in tasks) > SURE:
        each = entropies(posterior, one, k), entropies(posterior, other, k)
        return [_less(a, b, by_mean(c)) for (a, b), c in zip(_paired(*each), joint, strict=True)]
    for a, b in tasks:
        _check_points(posterior, both, np.concatenate([a.real, b.real], 1))
    return [by_neighbours(information_terms, [a.real, b.real], k) for a, b in tasks]


def _entropy(real: Array, stretch: Array, ks: Sequence[int]) -> list[Term]:
    """That of the real numbers, and the mean log |dx/du| of the way from there."""
    return [*entropy_terms(real, ks), Term(1, np.full(len(ks), stretch.mean()))]


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


def _check_points(posterior: Posterior, names: Names, points: Array) -> None:
    draws, numbers = points.shape
    if numbers > MOST:
        raise StructureError(f"{', '.join(names)} together are {numbers} numbers, {_TOO_MANY}")
    each = _EACH if numbers <= SURE else _EACH_OF_MANY
    if draws < each * numbers:
        raise ValueError(
            f"there are {draws} draws of {', '.join(names)}, {numbers} numbers, and at least "
            f"{each} for each are needed to estimate this entropy; take more draws"
        )
    _check_computed(posterior, names, numbers)
    if is_unlike_normal(points):
        raise StructureError(
            f"{', '.join(names)} together are {numbers} numbers whose dependence is far from that "
            f"of a normal distribution, {_TOO_MANY}"
        )


def _check_computed(posterior: Posterior, names: Names, numbers: int) -> None:
    """Refuse more numbers than those that they are computed from."""
    structure, segments = posterior.structure, posterior.density.segments
    nodes = [structure.nodes[name] for name in names]
    computed = [node.name for node in nodes if node.role is Role.DETERMINISTIC]
    sources = set(names).difference(computed).union(*(behind(structure, n) for n in computed))
    if not computed or not sources <= set(structure.theta) | set(structure.phi):
        return
    of_all = set(structure.computed(is_phi=True)) & {n.name for n in nodes if not n.is_by_task}
    tasks = posterior.tasks.num_tasks if of_all else 1
    free = sum(segments[n].size * (tasks if segments[n].is_phi else 1) for n in sources)
    if numbers > free:
        raise StructureError(
            f"{', '.join(names)} are {numbers} numbers that are computed from {free}, those of "
            f"{', '.join(sorted(sources))}, so that they have no density together; leave some out"
        )
