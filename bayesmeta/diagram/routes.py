"""The way of each arrow of a diagram: straight, or bent around what is not its end."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesmeta.diagram.boxes import Box, Point

_SIZES = (0.2, 0.35, 0.5, 0.7, 0.9, 1.1, 1.6, 2.2, 3.0, 4.0, 5.0, 6.0)
_BENDS = (0.0, *(sign * size for size in _SIZES for sign in (1, -1)))
_CLEAR, _APART, _TOGETHER = 0.12, 0.08, 0.5
_SHARES = np.linspace(0.0, 1.0, 61)[:, None]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Route:
    """A quadratic Bezier curve from the border of one node to that of another.

    Attributes:
        start, end: on the borders.
        control: what it is drawn towards; halfway where it is straight.
    """

    start: Point
    control: Point
    end: Point

    def curve(self) -> Array:
        """Many of its points, in order, (points, 2)."""
        start, control, end = (np.asarray(p) for p in (self.start, self.control, self.end))
        before = 1 - _SHARES
        return before**2 * start + 2 * before * _SHARES * control + _SHARES**2 * end

    def points(self) -> list[Point]:
        """The same as pairs."""
        return [(x, y) for x, y in self.curve().tolist()]


def routes(
    nodes: Mapping[str, Box],
    arrows: Iterable[tuple[str, str]],
    ends: Mapping[str, Box],
    captions: Sequence[Box] = (),
) -> dict[tuple[str, str], Route]:
    """A way for each arrow that keeps clear of all other nodes, bent as little as can be.

    Args:
        nodes: the boxes to keep clear of.
        arrows: (from, to).
        ends: the boxes at whose borders arrows start and end.
        captions: further boxes to keep clear of, which are less in the way.
    """
    found: dict[tuple[str, str], Route] = {}
    curves: list[Array] = []
    for a, b in arrows:
        others = [box for name, box in nodes.items() if name not in (a, b)]
        found[a, b] = _best(ends[a], ends[b], others, captions, curves)
        curves.append(found[a, b].curve())
    return found


def _best(
    a: Box, b: Box, nodes: Sequence[Box], captions: Sequence[Box], curves: Sequence[Array]
) -> Route:
    """The least bent way of the least faults."""
    ways: list[tuple[tuple[float, ...], Route]] = []
    for bend in _BENDS:
        way = _route(a, b, bend)
        faults = _faults(way.curve(), nodes, captions, curves)
        if not any(faults):
            return way
        ways.append((faults, way))
    return min(ways, key=lambda pair: pair[0])[1]


def _faults(
    curve: Array, nodes: Sequence[Box], captions: Sequence[Box], curves: Sequence[Array]
) -> tuple[float, ...]:
    """What is wrong with a way, the worst first."""
    away = _distance(curve, nodes)
    crossed = sum(bool(_inside(curve, box).any()) for box in captions)
    return (
        max(0.0, -away),
        crossed,
        _together(curve, curves) > _TOGETHER,
        max(0.0, _CLEAR - away),
    )


def min_distance(route: Route, others: Sequence[Box]) -> float:
    """How near it comes to any of the nodes; negative where it goes through one."""
    return _distance(route.curve(), others)


def crosses(route: Route, box: Box) -> bool:
    """Whether it goes through a rectangle."""
    return bool(_inside(route.curve(), box).any())


def together(one: Route, other: Route) -> float:
    """The share of the shorter of two ways on which it cannot be told apart."""
    return _together(one.curve(), [other.curve()])


def _distance(curve: Array, nodes: Sequence[Box]) -> float:
    """From nodes, whose ends are half circles; negative inside."""
    if not nodes:
        return math.inf
    x, y, width, height = np.array([(b.x, b.y, b.width, b.height) for b in nodes]).T
    along = np.maximum(0.0, np.abs(curve[:, :1] - x) - (width - height) / 2)
    return float((np.hypot(along, curve[:, 1:] - y) - height / 2).min())


def _inside(curve: Array, box: Box) -> NDArray[np.bool_]:
    x, y = curve.T
    return (box.left <= x) & (x <= box.right) & (box.bottom <= y) & (y <= box.top)


def _together(curve: Array, others: Sequence[Array]) -> float:
    """The share of the shorter of two ways on which it cannot be told apart, at most."""
    if not others:
        return 0.0
    points, lines = curve[::3], np.stack(others)[:, ::2]
    gaps = np.hypot(*(points[:, None, None] - lines).transpose(3, 0, 1, 2)).min(-1)
    length, lengths = _length(points), _length(lines)
    return float(((gaps < _APART).mean(0) * length / np.minimum(length, lengths)).max())


def _length(curves: Array) -> Array:
    """Of curves, (..., points, 2)."""
    return np.asarray(np.linalg.norm(np.diff(curves, axis=-2), axis=-1).sum(-1))


def _route(a: Box, b: Box, bend: float) -> Route:
    (dx, dy) = b.x - a.x, b.y - a.y
    length = math.hypot(dx, dy)
    control = (a.x + dx / 2 - bend * dy / length, a.y + dy / 2 + bend * dx / length)
    if min(_outside(a, control), _outside(b, control)) > 0:
        return Route(_border(a, control), control, _border(b, control))
    # Near a wide node: from border to border, as a curve to its own end has no direction there.
    start, end = _border(a, (b.x, b.y)), _border(b, (a.x, a.y))
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    way = end[0] - start[0], end[1] - start[1]
    return Route(start, (middle[0] - bend * way[1], middle[1] + bend * way[0]), end)


def _border(box: Box, towards: Point) -> Point:
    """Where the straight line from a node's centre leaves it."""
    inside, outside = 0.0, 1.0
    for _ in range(25):
        share = (inside + outside) / 2
        point = box.x + share * (towards[0] - box.x), box.y + share * (towards[1] - box.y)
        inside, outside = (share, outside) if _outside(box, point) < 0 else (inside, share)
    return box.x + outside * (towards[0] - box.x), box.y + outside * (towards[1] - box.y)


def _outside(box: Box, point: Point) -> float:
    """Distance from a node, whose ends are half circles; negative inside."""
    radius = box.height / 2
    along = max(0.0, abs(point[0] - box.x) - (box.width / 2 - radius))
    return math.hypot(along, point[1] - box.y) - radius
