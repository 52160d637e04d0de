"""Diagram: the nodes and arrows of a model's plate diagram, and how its plates are nested.

Products over plates commute, so that the order of two is free where they hold the same sites, or
one holds all of the other's. A plate that crosses another, each with sites of its own, is cut.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from bayesmeta.data.tasks import Tasks
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.reading import Reading

_Sets = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Diagram:
    """A plate diagram, and the model that it was read from.

    Attributes:
        nodes: by name, inputs first, then sites in the model's order.
        reading: the model as it was read.
        tasks: on which; with a query where there is one.
    """

    nodes: Mapping[str, Vertex]
    reading: Reading = field(repr=False)
    tasks: Tasks = field(repr=False)

    @property
    def edges(self) -> frozenset[tuple[str, str]]:
        """(parent, child) of each arrow."""
        return frozenset((p, v.name) for v in self.nodes.values() for p in v.parents)


def nested(nodes: Mapping[str, Vertex]) -> dict[str, Vertex]:
    """The same nodes, with plates in the order in which they are drawn, outermost first.

    A plate stands around all plates whose sites it holds; else the model's own order decides.
    """
    order = dict(_nest({v.name: v.plates for v in nodes.values()}))
    return {name: replace(v, plates=order[v.name]) for name, v in nodes.items()}


def pieces(nodes: Mapping[str, Vertex]) -> Counter[str]:
    """Into how many pieces each plate is cut."""
    ways = {v.plates[: k + 1] for v in nested(nodes).values() for k in range(len(v.plates))}
    return Counter(way[-1] for way in ways)


def _nest(rest: _Sets, around: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each site with all of its plates in order, given those that are chosen already."""
    yield from ((name, around) for name, plates in rest.items() if not plates)
    rest = {name: plates for name, plates in rest.items() if plates}
    while rest:
        chosen = _outermost(rest)
        inside = {n: tuple(p for p in ps if p != chosen) for n, ps in rest.items() if chosen in ps}
        rest = {n: ps for n, ps in rest.items() if n not in inside}
        yield from _nest(inside, (*around, chosen))


def _outermost(rest: _Sets) -> str:
    """The plate that the fewest others ought to be around."""
    plates = dict.fromkeys(p for ps in rest.values() for p in ps)
    return min(plates, key=lambda p: sum(_is_around(q, p, rest) for q in plates))


def _is_around(one: str, other: str, rest: _Sets) -> bool:
    """Whether a plate ought to be outside of another."""
    mine, its = ({n for n, plates in rest.items() if p in plates} for p in (one, other))
    both = mine & its
    if one == other or not both:
        return False
    if mine != its and both in (mine, its):
        return mine > its
    return sum(1 if rest[n].index(one) < rest[n].index(other) else -1 for n in both) > 0
