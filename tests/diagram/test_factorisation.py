"""The joint density in LaTeX, of the lecture's model and of plates side by side."""

from __future__ import annotations

from typing import Any

import pytest

import bayesmeta as bm
from bayesmeta.diagram.factorisation import factorisation
from bayesmeta.diagram.latex import symbol
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role
from bayesmeta.models import lecture
from tests.cases import EVERY


def test_the_lectures_joint() -> None:
    tasks = lecture.tasks(slope=True)
    assert bm.graph(lecture.meta_learning, tasks).factorisation() == (
        r"p(\theta)\, \prod_{i} p(\phi_{i} \mid \theta)\, "
        r"\prod_{j} p(y_{ij} \mid x_{ij}, \phi_{i})"
    )
    assert bm.graph(lecture.dataset, tasks[:1]).factorisation() == (
        r"\prod_{j} p(y_{j} \mid x_{j})"
    )


def test_the_halves_of_the_data_are_told_apart() -> None:
    support, query = lecture.tasks(slope=True).split(2)
    found = bm.graph(lecture.meta_learning, support, query).factorisation()
    for half in ("support", "query"):
        above = rf"^{{\mathrm{{{half}}}}}"
        assert rf"p(y{above}_{{ij}} \mid x{above}_{{ij}}, \phi_{{i}})" in found


def test_parameters_have_no_density_and_a_product_ends_before_the_next() -> None:
    model, tasks, _ = EVERY["rich"]
    found = bm.graph(model, tasks).factorisation()
    assert r"p(\mathrm{level})" not in found
    assert r"\left(\prod_{k} p(\mathrm{bend}_{ik} \mid \mathrm{scale})\right)\, \prod_{j}" in found
    assert r"\exp f_{\mathrm{soft}_{i}}(\mathrm{within}_{i})" in found
    assert r"\text{where } \mathrm{mean}_{i} = f(" in found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mu", r"\mu_{i}"),
        ("tau_alpha", r"\tau_{\alpha,i}"),
        ("gamma0", r"\gamma_{0,i}"),
        ("w", "w_{i}"),
        ("effect", r"\mathrm{effect}_{i}"),
        ("log_uranium", r"\mathrm{log\_uranium}_{i}"),
        ("phi_decentered", r"\phi_{\mathrm{decentered},i}"),
    ],
)
def test_symbols(name: str, expected: str) -> None:
    assert symbol(name, ["i"]) == expected


def test_what_is_read_at_all_datapoints_is_a_set() -> None:
    def vertex(name: str, *parents: str, elsewhere: tuple[str, ...] = (), **more: Any) -> Vertex:
        role = more.get("role", Role.PHI)
        return Vertex(name, role, ("tasks", "data"), parents, elsewhere=elsewhere)

    nodes = [
        Vertex("phi", Role.PHI, ("tasks",), ()),
        vertex("x", role=Role.INPUT),
        vertex("e"),
        vertex("w", "e", role=Role.DETERMINISTIC, elsewhere=("e",)),
        vertex("z", "x", "phi", elsewhere=("x",)),
    ]
    inside = (
        r"\prod_{i} p(\phi_{i})\, \prod_{j} p(e_{ij})\, p(z_{ij} \mid \phi_{i}, \{x_{ij}\}_{j})"
    )
    where = r" \quad\text{where } w_{ij} = f(\{e_{ij}\}_{j})"
    assert factorisation({v.name: v for v in nodes}) == inside + where
    # What follows a lag has one density for all datapoints of a task.
    tied = [nodes[0], nodes[1], vertex("y", "x", "phi", elsewhere=("y",))]
    assert factorisation({v.name: v for v in tied}) == (
        r"\prod_{i} p(\phi_{i})\, p(\{y_{ij}\}_{j} \mid \phi_{i}, \{x_{ij}\}_{j})"
    )
