"""The way of each arrow of a diagram: straight, or bent around nodes that are not its ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bayesmeta.graph.boxes import Box, Point

_BENDS = (0.0, 0.35, -0.35, 0.7, -0.7, 1.1, -1.1, 1.6, -1.6, 2.2, -2.2, 3.0, -3.0)
_CLEAR, _STEPS = 0.12, 60


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

    def at(self, share: float) -> Point:
        """The point after a share of the way."""
        return _bezier(self.start, self.control, self.end, share)

    def points(self) -> list[Point]:
        """Many of its points, in order."""
        return [self.at(k / _STEPS) for k in range(_STEPS + 1)]


def routes(
    nodes: Mapping[str, Box], arrows: Iterable[tuple[str, str]], ends: Mapping[str, Box]
) -> dict[tuple[str, str], Route]:
    """A way for each arrow that keeps clear of all other nodes, bent as little as can be.

    Args:
        nodes: the boxes to keep clear of.
        arrows: (from, to).
        ends: the boxes at whose borders arrows start and end.
    """
    found = {}
    for a, b in arrows:
        others = [box for name, box in nodes.items() if name not in (a, b)]
        ways = [_route(ends[a], ends[b], bend) for bend in _BENDS]
        clear = (way for way in ways if min_distance(way, others) > _CLEAR)
        found[a, b] = next(clear, None) or max(ways, key=lambda way: min_distance(way, others))
    return found


def min_distance(route: Route, others: Iterable[Box]) -> float:
    """How near it comes to any of the nodes; negative where it goes through one."""
    points = route.points()
    return min((_outside(box, p) for box in others for p in points), default=math.inf)


def _route(a: Box, b: Box, bend: float) -> Route:
    (dx, dy) = b.x - a.x, b.y - a.y
    length = math.hypot(dx, dy)
    control = (a.x + dx / 2 - bend * dy / length, a.y + dy / 2 + bend * dx / length)
    return Route(_border(a, control), control, _border(b, control))


def _border(box: Box, towards: Point) -> Point:
    """Where the straight line from a node's centre leaves it."""
    inside, outside = 0.0, 1.0
    for _ in range(40):
        share = (inside + outside) / 2
        point = box.x + share * (towards[0] - box.x), box.y + share * (towards[1] - box.y)
        inside, outside = (share, outside) if _outside(box, point) < 0 else (inside, share)
    return box.x + outside * (towards[0] - box.x), box.y + outside * (towards[1] - box.y)


def _outside(box: Box, point: Point) -> float:
    """Distance from a node, whose ends are half circles; negative inside."""
    radius = box.height / 2
    along = max(0.0, abs(point[0] - box.x) - (box.width / 2 - radius))
    return math.hypot(along, point[1] - box.y) - radius


def _bezier(a: Point, control: Point, b: Point, share: float) -> Point:
    before, after = 1 - share, share
    x, y = (before**2 * a[k] + 2 * before * after * control[k] + after**2 * b[k] for k in (0, 1))
    return x, y
