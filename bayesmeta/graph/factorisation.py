"""The joint density of a graph as a product in LaTeX, plate by plate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bayesmeta.graph.latex import symbol
from bayesmeta.graph.vertices import QUERY, SUPPORT, Vertex
from bayesmeta.model.checks import DATA, TASKS
from bayesmeta.model.structure import Role

_LETTERS = {TASKS: "i", DATA: "j"}
_MORE_LETTERS = "klmnpqrs"


def letters(nodes: Mapping[str, Vertex]) -> dict[str, str]:
    """The index of each plate: i for "tasks", j for "data", then k, l, ..."""
    plates = dict.fromkeys(p for v in nodes.values() for p in v.plates)
    others = iter(_MORE_LETTERS)
    return {p: _LETTERS.get(p) or next(others) for p in plates}


def label(vertex: Vertex, index: Mapping[str, str]) -> str:
    """A node's name in LaTeX, its plates' indices below and its half of the data above."""
    for part in (SUPPORT, QUERY):
        name = vertex.name.removesuffix(f"_{part}")
        if DATA in vertex.plates and name != vertex.name:
            return symbol(name, [index[p] for p in vertex.plates], part)
    return symbol(vertex.name, [index[p] for p in vertex.plates])


def factorisation(nodes: Mapping[str, Vertex]) -> str:
    r"""p(theta) \prod_i p(phi_i | theta) \prod_j p(y_ij | x_ij, phi_i), with this graph's nodes.

    Factors are exp f(...), with which it is known up to a constant; deterministic sites follow as
    equations; inputs have no density, and parameters a flat one, which is not written.
    """
    index = letters(nodes)
    label_of = {v.name: label(v, index) for v in nodes.values()}
    without = (Role.DETERMINISTIC, Role.INPUT)
    drawn = [v for v in nodes.values() if v.role not in without and not v.is_parameter]
    terms = _product((), drawn, label_of, index)
    defined = [
        f"{label_of[v.name]} = f({', '.join(label_of[p] for p in v.parents)})"
        for v in nodes.values()
        if v.role is Role.DETERMINISTIC
    ]
    if any(v.role is Role.FACTOR for v in drawn):
        terms = rf"\propto {terms}"
    return terms + (r" \quad\text{where } " + r",\ ".join(defined) if defined else "")


def _product(
    plates: tuple[str, ...],
    drawn: Sequence[Vertex],
    label_of: Mapping[str, str],
    index: Mapping[str, str],
) -> str:
    """The densities of the sites in these plates, then a product for each plate inside them."""
    own = [_density(v, label_of) for v in drawn if v.plates == plates]
    depth = len(plates)
    inside = dict.fromkeys(
        v.plates[depth] for v in drawn if v.plates[:depth] == plates and len(v.plates) > depth
    )
    products = [
        rf"\prod_{{{index[plate]}}} {_product((*plates, plate), drawn, label_of, index)}"
        for plate in sorted(inside, key=lambda name: name in (TASKS, DATA))
    ]
    # A product reaches as far as the line goes, so that all but the last are closed.
    closed = [rf"\left({product}\right)" for product in products[:-1]]
    return r"\, ".join([*own, *closed, *products[-1:]])


def _density(vertex: Vertex, label_of: Mapping[str, str]) -> str:
    given = ", ".join(label_of[p] for p in vertex.parents)
    if vertex.role is Role.FACTOR:
        return rf"\exp f_{{{label_of[vertex.name]}}}({given})"
    return f"p({label_of[vertex.name]}" + (rf" \mid {given})" if given else ")")
