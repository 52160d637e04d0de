"""Diagram: the nodes and arrows of a model's plate diagram, for all that draws or reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bayesmeta.data.tasks import Tasks
from bayesmeta.graph.vertices import Vertex
from bayesmeta.model.reading import Reading


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
