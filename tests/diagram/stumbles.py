"""What a reader of a plate diagram would stumble over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from bayesmeta.diagram.arrangement import Picture
from bayesmeta.diagram.boxes import Box
from bayesmeta.diagram.diagram import nested
from bayesmeta.diagram.routes import crosses, min_distance, together
from bayesmeta.diagram.vertices import Vertex

Path = tuple[str, ...]


def complaints(nodes: Mapping[str, Vertex], picture: Picture) -> list[str]:
    """All of it, in words."""
    nodes = nested(nodes)
    return [
        *_overlaps(picture),
        *_plates(nodes, picture),
        *_captions(picture),
        *_arrows(picture),
    ]


def _overlaps(picture: Picture) -> Iterator[str]:
    for (a, one), (b, other) in combinations(picture.layout.nodes.items(), 2):
        if one.meets(other):
            yield f"{a} overlaps {b}"


def _plates(nodes: Mapping[str, Vertex], picture: Picture) -> Iterator[str]:
    """Plates that are not around their own alone, or that meet others."""
    for path, box in picture.layout.plates.items():
        for name, node in picture.layout.nodes.items():
            if box.holds(node) != (nodes[name].plates[: len(path)] == path) or _cuts(box, node):
                yield f"{path} and {name}"
        for others, other in picture.layout.plates.items():
            inside = others[: len(path)] == path and others != path
            apart = not inside and path[: len(others)] != others
            if box.holds(other) != inside or (apart and box.meets(other)):
                yield f"{path} and {others}"


def _captions(picture: Picture) -> Iterator[str]:
    """Captions outside of their plates, over something, or crossed by an arrow."""
    for path, caption in picture.captions.items():
        for name, node in picture.layout.nodes.items():
            if node.meets(caption):
                yield f"{name} covers the caption of {path}"
        for others, box in picture.layout.plates.items():
            if box.holds(caption) != (path[: len(others)] == others) or _cuts(box, caption):
                yield f"the caption of {path} and the plate {others}"
        for (a, b), way in picture.ways.items():
            if crosses(way, caption):
                yield f"{a} -> {b} goes through the caption of {path}"
    for (path, one), (others, other) in combinations(picture.captions.items(), 2):
        if one.meets(other):
            yield f"the captions of {path} and {others} coincide"


def _arrows(picture: Picture) -> Iterator[str]:
    """Arrows through nodes, and along one another."""
    for (a, b), way in picture.ways.items():
        for name, box in picture.layout.nodes.items():
            if name not in (a, b) and min_distance(way, [box]) <= 0:
                yield f"{a} -> {b} goes through {name}"
    for (one, way), (other, along) in combinations(picture.ways.items(), 2):
        if together(way, along) > 0.6:
            yield f"{' -> '.join(one)} runs along {' -> '.join(other)}"


def _cuts(plate: Box, other: Box) -> bool:
    """Whether a plate's border goes through it."""
    return plate.meets(other) and not plate.holds(other)
