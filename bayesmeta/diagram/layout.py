"""Where the nodes and plates of a diagram stand.

Nodes of the same plates form a block; blocks inside it are nested plates. The items of a block,
its own nodes and the blocks inside, stand in rows, parents above children. Inputs stand beside what
they feed, and what is read deep inside alone beside the plate: arrows are short and cross little.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

import networkx as nx

from bayesmeta.diagram.boxes import Box, Layout, joined, spread, with_grid
from bayesmeta.diagram.diagram import nested
from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role

ROW_GAP, NODE_GAP, BESIDE_GAP, STACK_GAP = 0.8, 0.7, 0.8, 0.3
PADDING, LABEL = 0.4, 0.45
_SWEEPS = 4
# Of an item of a block: a node's name, a plate's names, or the names of a column of nodes.
_Key = str | tuple[str, ...] | frozenset[str]


def lay_out(
    nodes: Mapping[str, Vertex],
    widths: Mapping[str, float],
    labels: Mapping[str, float],
    aside: Mapping[tuple[str, ...], float] = MappingProxyType({}),
) -> Layout:
    """Boxes of all nodes, each 1 high, and of all plates, around 0.

    Args:
        nodes: the vertices of a graph.
        widths: of each node.
        labels: of each plate, the width of its label.
        aside: what is added to a plate at its right, by the names of all plates around.
    """
    return _Block((), nested(nodes), widths, labels, aside).layout().centred()


class _Side(enum.Enum):
    IN_ROWS = enum.auto()
    LEFT = enum.auto()
    RIGHT = enum.auto()
    BELOW = enum.auto()


@dataclass(frozen=True)
class _Block:
    """The nodes inside some plates, outermost first, and inside no others but by inner blocks."""

    plates: tuple[str, ...]
    nodes: Mapping[str, Vertex]
    widths: Mapping[str, float]
    labels: Mapping[str, float]
    aside: Mapping[tuple[str, ...], float]

    def layout(self) -> Layout:
        """Rows of items, what stands beside them, and the plate around."""
        items = self._items()
        found = self._beside(_Rows(items, self.nodes).layout() if items else Layout({}, {}))
        found = with_grid(found, {n: self._box(n) for n in self._alone()}, NODE_GAP, ROW_GAP)
        if not self.plates:
            return found
        inside = found.bounds
        width = max(inside.width, self.labels[self.plates[-1]]) + 2 * PADDING
        height = inside.height + 2 * PADDING + LABEL
        aside = self.aside.get(self.plates, 0.0)
        plate = Box(inside.x + aside / 2, inside.y - LABEL / 2, width + aside, height)
        return Layout(found.nodes, {**found.plates, self.plates: plate})

    def _items(self) -> dict[_Key, Layout]:
        """Own nodes and inner blocks, each around 0, but for nodes that stand beside."""
        items: dict[_Key, Layout] = {}
        depth, alone = len(self.plates), self._alone()
        for v in self.nodes.values():
            if v.plates == self.plates and self._side(v) is _Side.IN_ROWS and v.name not in alone:
                items[v.name] = Layout({v.name: self._box(v.name)}, {})
            elif len(v.plates) > depth and v.plates[:depth] == self.plates:
                inner = v.plates[: depth + 1]
                if inner not in items:
                    block = _Block(inner, self.nodes, self.widths, self.labels, self.aside)
                    items[inner] = block.layout().centred()
        return items

    def _alone(self) -> list[str]:
        """Own nodes without arrows."""
        read = {p for v in self.nodes.values() for p in v.parents}
        own = [v for v in self.nodes.values() if v.plates == self.plates]
        return [v.name for v in own if not v.parents and v.name not in read]

    def _box(self, name: str) -> Box:
        return Box(0.0, 0.0, self.widths[name], 1.0)

    def _side(self, vertex: Vertex) -> _Side:
        """Where a root stands that is read deep inside alone: its arrows would cross the rows."""
        readers = [v for v in self.nodes.values() if vertex.name in v.parents]
        if any(v.plates[: len(self.plates)] != self.plates for v in readers):
            return _Side.IN_ROWS
        depth = min((len(v.plates) for v in readers), default=0) - len(self.plates)
        if vertex.parents or depth < 1 or (depth < 2 and vertex.role is not Role.INPUT):
            return _Side.IN_ROWS
        if len(readers) > 1:
            return _Side.BELOW
        return _Side.LEFT if vertex.role is Role.INPUT else _Side.RIGHT

    def _beside(self, rows: Layout) -> Layout:
        """The rows with what stands left, right and below, as near to its readers as can be."""
        found = [rows]
        for side in (_Side.LEFT, _Side.RIGHT, _Side.BELOW):
            own = [v for v in self.nodes.values() if v.plates == self.plates]
            own = [v for v in own if self._side(v) is side]
            if own:
                found.append(self._line(own, rows, side))
        return joined(found)

    def _line(self, own: Sequence[Vertex], rows: Layout, side: _Side) -> Layout:
        """A column of nodes at a side of the rows, or a row below them."""
        is_row = side is _Side.BELOW
        wanted = {v.name: fmean(self._readers(v, rows, is_row)) for v in own}
        names = sorted(wanted, key=lambda name: wanted[name])
        sizes = [self.widths[n] if is_row else 1.0 for n in names]
        gap = NODE_GAP if is_row else STACK_GAP
        places = spread([wanted[n] for n in names], sizes, gap)
        if is_row:
            y = rows.bounds.bottom - ROW_GAP - 0.5
            at = [(x, y) for x in places]
        else:
            away = BESIDE_GAP + max(self.widths[n] for n in names) / 2
            right = side is _Side.RIGHT
            at = [
                (rows.bounds.right + away if right else rows.bounds.left - away, y) for y in places
            ]
        return Layout({n: self._box(n).moved(*p) for n, p in zip(names, at, strict=True)}, {})

    def _readers(self, vertex: Vertex, rows: Layout, across: bool) -> list[float]:
        """Their places across, or up."""
        boxes = [rows.nodes[v.name] for v in self.nodes.values() if vertex.name in v.parents]
        return [box.x if across else box.y for box in boxes]


class _Rows:
    """Items in rows, each in order and place."""

    def __init__(self, items: Mapping[_Key, Layout], nodes: Mapping[str, Vertex]) -> None:
        self.nodes = nodes
        self.item_of: dict[str, _Key] = {
            name: item for item, layout in items.items() for name in layout.nodes
        }
        self.items = dict(items)
        inside = [(p, v.name) for v in nodes.values() for p in v.parents]
        self.arrows = [(p, c) for p, c in inside if {p, c} <= self.item_of.keys()]
        rank = self._ranks()
        self.rows: list[list[_Key]] = [[] for _ in range(1 + max(rank.values()))]
        for item in self.items:
            if item in rank:
                self.rows[rank[item]].append(item)
        self._place_inputs(rank)
        self.x = {item: 0.0 for row in self.rows for item in row}

    def layout(self) -> Layout:
        """The rows, one under the other."""
        for _ in range(_SWEEPS):
            for row in self.rows:
                self._arrange(row, downwards=True)
            for row in reversed(self.rows):
                self._arrange(row, downwards=False)
        placed, y = [], 0.0
        for row in self.rows:
            height = max(self.items[item].bounds.height for item in row)
            placed += [self.items[item].moved(self.x[item], y - height / 2) for item in row]
            y -= height + ROW_GAP
        return joined(placed)

    def _ranks(self) -> dict[_Key, int]:
        """The row of each item but the inputs beside one: longest paths from above."""
        net = nx.DiGraph()
        net.add_nodes_from(self.items)
        pairs = [(self.item_of[p], self.item_of[c]) for p, c in self.arrows]
        net.add_edges_from((a, b) for a, b in pairs if a != b)
        order = {item: k for k, item in enumerate(self.items)}
        for ring in [*nx.strongly_connected_components(net)]:
            # Of items that read each other, those are above that come first.
            back = [(a, b) for a, b in net.subgraph(ring).edges if order[a] > order[b]]
            net.remove_edges_from(back)
        whole = nx.condensation(net)
        rank = {part: 0 for part in whole}
        for part in nx.topological_sort(whole):
            for below in whole.successors(part):
                rank[below] = max(rank[below], rank[part] + 1)
        for part in whole:
            if not whole.in_degree(part) and whole.out_degree(part):
                # A root stands right above its first reader.
                rank[part] = min(rank[below] for below in whole.successors(part)) - 1
        first = min(rank.values())
        return {item: rank[part] - first for part in whole for item in whole.nodes[part]["members"]}

    def _place_inputs(self, rank: Mapping[_Key, int]) -> None:
        """Move inputs from the row above their readers into the readers' row."""
        left: dict[str, list[str]] = {}
        right: dict[str, list[str]] = {}
        for name in [n for n in self.items if isinstance(n, str)]:
            if self.nodes[name].role is not Role.INPUT:
                continue
            readers = [c for p, c in self.arrows if p == name]
            row = self.rows[rank[self.item_of[readers[0]]]] if readers else []
            mains = [
                i for i in row if not (isinstance(i, str) and self.nodes[i].role is Role.INPUT)
            ]
            if not all(reader in mains for reader in readers):
                continue
            at = [mains.index(reader) for reader in readers]
            if at in ([0], [len(mains) - 1]):
                ends = left if at == [0] else right
                ends.setdefault(readers[0], []).append(name)
            elif len(at) == 2 and abs(at[0] - at[1]) == 1:
                self.rows[rank[name]].remove(name)
                row.insert(row.index(mains[max(at)]), name)
        for ends, first in ((left, True), (right, False)):
            for reader, names in ends.items():
                self._stack(reader, names, rank, first=first)
        self.rows = [row for row in self.rows if row]

    def _stack(
        self, reader: str, names: Sequence[str], rank: Mapping[_Key, int], *, first: bool
    ) -> None:
        """Several inputs of one reader as one item, a column, at an end of the reader's row."""
        for name in names:
            self.rows[rank[name]].remove(name)
        boxes = [self.items.pop(name).nodes[name] for name in names]
        middle = (len(names) - 1) / 2
        step = 1.0 + STACK_GAP
        column = frozenset(names)
        self.items[column] = Layout(
            {
                n: b.moved(0.0, (middle - k) * step)
                for k, (n, b) in enumerate(zip(names, boxes, strict=True))
            },
            {},
        )
        self.item_of.update(dict.fromkeys(names, column))
        self.rows[rank[reader]].insert(0 if first else len(self.rows[rank[reader]]), column)

    def _arrange(self, row: list[_Key], *, downwards: bool) -> None:
        """Order and place a row by its parents, or by its children."""
        wanted = {item: self._wanted(item, downwards=downwards) for item in row}
        if all(self._may_move(item) for item in row):
            row.sort(key=lambda item: wanted[item])
        sizes = [self.items[item].bounds.width for item in row]
        places = spread([wanted[item] for item in row], sizes, NODE_GAP)
        self.x.update(zip(row, places, strict=True))

    def _may_move(self, item: _Key) -> bool:
        """Whether it is no input that was put where it is; those inside a plate go with it."""
        layout = self.items[item]
        return bool(layout.plates) or all(
            self.nodes[name].role is not Role.INPUT for name in layout.nodes
        )

    def _wanted(self, item: _Key, *, downwards: bool) -> float:
        """Where its nodes are, on average, right below what they read, or above what reads them."""
        pairs = self.arrows if downwards else [(c, p) for p, c in self.arrows]
        near = [(p, c) for p, c in pairs if self.item_of[c] == item != self.item_of[p]]
        inside = self.items[item].nodes
        return fmean(self._at(p) - inside[c].x for p, c in near) if near else self.x[item]

    def _at(self, name: str) -> float:
        item = self.item_of[name]
        return self.x[item] + self.items[item].nodes[name].x
