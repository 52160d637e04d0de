"""The joint density of a graph as a product in LaTeX, plate by plate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from bayesmeta.diagram.arrows import Arrows
from bayesmeta.diagram.diagram import nested
from bayesmeta.diagram.labels import labels, letters
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.checks import DATA, TASKS
from bayesmeta.model.structure import Role


def factorisation(nodes: Mapping[str, Vertex]) -> str:
    r"""p(theta) \prod_i p(phi_i | theta) \prod_j p(y_ij | x_ij, phi_i), with this graph's nodes.

    Factors are exp f(...), with which it is known up to a constant; deterministic sites follow as
    equations; inputs have no density, and parameters a flat one, which is not written. A site that
    reads all of a plate that it is not in reads \{w_k\}_k.
    """
    written = _Written(labels(nodes), letters(nodes), nested(nodes), Arrows(nodes))
    without = (Role.DETERMINISTIC, Role.INPUT)
    drawn = [v for v in written.nodes.values() if v.role not in without and not v.is_parameter]
    drawn = [written.together(v) for v in drawn if written.is_first(v)]
    terms = _product((), drawn, written)
    defined = [
        f"{written.labels[v.name]} = f({written.parents(v)})"
        for v in nodes.values()
        if v.role is Role.DETERMINISTIC
    ]
    if any(v.role is Role.FACTOR for v in drawn):
        terms = rf"\propto {terms}"
    return terms + (r" \quad\text{where } " + r",\ ".join(defined) if defined else "")


@dataclass(frozen=True)
class _Written:
    """How sites are written.

    Attributes:
        labels: of each site, in LaTeX.
        index: of each plate.
        nodes: by name.
        arrows: what of them is read at all datapoints of a task.
    """

    labels: Mapping[str, str]
    index: Mapping[str, str]
    nodes: Mapping[str, Vertex]
    arrows: Arrows

    def is_first(self, vertex: Vertex) -> bool:
        """Whether it is the first of those that it is tied to, or tied to none."""
        return self.arrows.tied.get(vertex.name, (vertex.name,))[0] == vertex.name

    def together(self, vertex: Vertex) -> Vertex:
        """As it is; but what is tied has one density for all datapoints of a task."""
        if vertex.name not in self.arrows.tied:
            return vertex
        return replace(vertex, plates=tuple(p for p in vertex.plates if p != DATA))

    def parents(self, vertex: Vertex) -> str:
        """What a site reads; what is in plates around it by its own index, and all of others."""
        return ", ".join(
            self._read(arrow.parent, {*vertex.plates} - arrow.over)
            for arrow in self.arrows.into(vertex.name)
        )

    def name(self, vertex: Vertex) -> str:
        """A site in its own density: with all that it is tied to, in all datapoints."""
        group = self.arrows.tied.get(vertex.name, (vertex.name,))
        return ", ".join(self._read(n, vertex.plates) for n in group)

    def _read(self, parent: str, plates: Collection[str]) -> str:
        whole = [self.index[p] for p in self.nodes[parent].plates if p not in plates]
        label = self.labels[parent]
        return rf"\{{{label}\}}_{{{''.join(whole)}}}" if whole else label

    def density(self, vertex: Vertex) -> str:
        """p(site | parents), or exp f of a factor."""
        given = self.parents(vertex)
        if vertex.role is Role.FACTOR:
            return rf"\exp f_{{{self.labels[vertex.name]}}}({given})"
        return f"p({self.name(vertex)}" + (rf" \mid {given})" if given else ")")


def _product(plates: tuple[str, ...], drawn: Sequence[Vertex], written: _Written) -> str:
    """The densities of the sites in these plates, then a product for each plate inside them."""
    own = [written.density(v) for v in drawn if v.plates == plates]
    depth = len(plates)
    inside = dict.fromkeys(
        v.plates[depth] for v in drawn if v.plates[:depth] == plates and len(v.plates) > depth
    )
    products = [
        rf"\prod_{{{written.index[plate]}}} {_product((*plates, plate), drawn, written)}"
        for plate in sorted(inside, key=lambda name: name in (TASKS, DATA))
    ]
    # A product reaches as far as the line goes, so that all but the last are closed.
    closed = [rf"\left({product}\right)" for product in products[:-1]]
    return r"\, ".join([*own, *closed, *products[-1:]])
