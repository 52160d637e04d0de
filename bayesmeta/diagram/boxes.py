"""Boxes and groups of boxes: where things stand in a drawing, in units of a node's height."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy

Point = tuple[float, float]


@dataclass(frozen=True)
class Box:
    """A rectangle by its centre, width and height; y points up."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """The smallest x."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """The largest x."""
        return self.x + self.width / 2

    @property
    def bottom(self) -> float:
        """The smallest y."""
        return self.y - self.height / 2

    @property
    def top(self) -> float:
        """The largest y."""
        return self.y + self.height / 2

    def moved(self, x: float, y: float) -> Box:
        """The same box elsewhere."""
        return replace(self, x=self.x + x, y=self.y + y)

    def holds(self, other: Box) -> bool:
        """Whether the other is inside."""
        return (
            self.left < other.left
            and other.right < self.right
            and self.bottom < other.bottom
            and other.top < self.top
        )

    def meets(self, other: Box) -> bool:
        """Whether they overlap."""
        wide = abs(self.x - other.x) < (self.width + other.width) / 2
        return wide and abs(self.y - other.y) < (self.height + other.height) / 2


@dataclass(frozen=True)
class Layout:
    """Boxes of nodes by name, and of plates by the names of all plates around, outermost first."""

    nodes: Mapping[str, Box]
    plates: Mapping[tuple[str, ...], Box]

    @property
    def bounds(self) -> Box:
        """What holds everything."""
        boxes = [*self.nodes.values(), *self.plates.values()]
        corners = [(b.left, b.bottom) for b in boxes] + [(b.right, b.top) for b in boxes]
        return around(corners)

    def moved(self, x: float, y: float) -> Layout:
        """The same elsewhere."""
        return Layout(
            {name: box.moved(x, y) for name, box in self.nodes.items()},
            {name: box.moved(x, y) for name, box in self.plates.items()},
        )

    def centred(self) -> Layout:
        """The same around 0."""
        return self.moved(-self.bounds.x, -self.bounds.y)


def around(points: Sequence[Point]) -> Box:
    """The box whose borders these points touch."""
    (left, low), (right, high) = (
        (pick(x for x, _ in points), pick(y for _, y in points)) for pick in (min, max)
    )
    return Box((left + right) / 2, (low + high) / 2, right - left, high - low)


def with_points(box: Box, points: Sequence[Point]) -> Box:
    """The box, larger where points lie outside of it."""
    return around([(box.left, box.bottom), (box.right, box.top), *points])


def joined(layouts: Iterable[Layout]) -> Layout:
    """Several as one."""
    nodes: dict[str, Box] = {}
    plates: dict[tuple[str, ...], Box] = {}
    for layout in layouts:
        nodes.update(layout.nodes)
        plates.update(layout.plates)
    return Layout(nodes, plates)


def with_grid(rest: Layout, boxes: Mapping[str, Box], gap: float, row_gap: float) -> Layout:
    """A layout with boxes in rows at its right or below it, so that all is as compact as can be."""
    if not boxes:
        return rest
    found = []
    for columns in range(1, len(boxes) + 1):
        grid = _grid(boxes, columns, gap, row_gap)
        if not rest.nodes:
            found.append(grid)
            continue
        here, there = rest.bounds, grid.bounds
        right = grid.moved(here.right + gap - there.left, here.top - there.top)
        below = grid.moved(here.x - there.x, here.bottom - row_gap - there.top)
        found += [joined((rest, right)), joined((rest, below))]
    return min(found, key=lambda layout: layout.bounds.width + layout.bounds.height)


def _grid(boxes: Mapping[str, Box], columns: int, gap: float, row_gap: float) -> Layout:
    widest = max(box.width for box in boxes.values()) + gap
    return Layout(
        {
            name: box.moved(k % columns * widest, -(k // columns) * (box.height + row_gap))
            for k, (name, box) in enumerate(boxes.items())
        },
        {},
    )


def spread(wanted: Sequence[float], sizes: Sequence[float], gap: float) -> list[float]:
    """Places in this order, as near as can be to those wanted, with a gap between neighbours.

    Least squares under x_{k+1} - x_k >= (size_k + size_{k+1}) / 2 + gap: an isotonic regression.
    """
    apart = [0.0] + [(a + b) / 2 + gap for a, b in pairwise(sizes)]
    offset = np.cumsum(apart)
    found = scipy.optimize.isotonic_regression(np.asarray(wanted) - offset).x + offset
    return [float(x) for x in found]
