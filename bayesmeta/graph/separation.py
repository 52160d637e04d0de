"""d-separation on an acyclic graph: which paths carry dependence, and what blocks the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import networkx as nx


Path = tuple[str, ...]
_MOST_PATHS = 8
_NOR = ", nor is anything below it"


class Separation:
    """Given some nodes, who is independent of whom (Pearl 1988).

    A path is active where every inner node lets dependence through: a collider (-> v <-) where it
    or a descendant is given, any other node where it is not. Two nodes without an active path are
    independent in every distribution that has the graph. That a path exists says nothing.

    Attributes:
        dag: a directed acyclic graph.
        given: the nodes that are known.
        factors: those of them that always are, as they are no variables.
    """

    def __init__(self, dag: nx.DiGraph, given: Iterable[str], factors: Iterable[str] = ()) -> None:
        import networkx as nx

        self.dag, self.given, self.factors = dag, frozenset(given), frozenset(factors)
        self._opens = self.given.union(*(nx.ancestors(dag, node) for node in self.given))

    def active_path(self, a: str, b: str) -> Path | None:
        """A shortest active path from a to b; None where they are independent, or one is known.

        Breadth first over (node, the node before it): what lets through depends on both. A shortest
        active walk visits no node twice, for what lies between two visits can be left out.
        """
        if {a, b} & self.given:
            return None
        walks: deque[Path] = deque([(a,)])
        # Of a node before, only which way its arrow points matters.
        seen: set[tuple[str, bool]] = set()
        while walks:
            walk = walks.popleft()
            for node in self._neighbours(walk[-1]):
                if len(walk) > 1 and self.blocks(walk[-2], walk[-1], node):
                    continue
                if node == b:
                    return (*walk, node)
                state = node, self.dag.has_edge(walk[-1], node)
                if state not in seen:
                    seen.add(state)
                    walks.append((*walk, node))
        return None

    def blocks(self, before: str, node: str, after: str) -> bool:
        """Whether the inner node of a path lets nothing through."""
        if self.is_collider(before, node, after):
            return node not in self._opens
        return node in self.given

    def is_collider(self, before: str, node: str, after: str) -> bool:
        """Whether both arrows of a path point at the node."""
        return self.dag.has_edge(before, node) and self.dag.has_edge(after, node)

    def paths(self, a: str, b: str, most: int) -> list[Path]:
        """The shortest paths from a to b, active or not, whichever way their arrows point."""
        import networkx as nx

        skeleton = self.dag.to_undirected(as_view=True)
        if not nx.has_path(skeleton, a, b):
            return []
        return [tuple(path) for path in islice(nx.shortest_simple_paths(skeleton, a, b), most)]

    def drawn(self, path: Sequence[str]) -> str:
        """A path with its arrows: "a <- b -> c"."""
        steps = [path[0]]
        for before, after in pairwise(path):
            steps.append("->" if self.dag.has_edge(before, after) else "<-")
            steps.append(after)
        return " ".join(steps)

    def reasons(self, path: Sequence[str], *, blocking: bool) -> Iterator[str]:
        """Of each inner node that blocks the path, or lets through, why."""
        for before, node, after in zip(path, path[1:], path[2:], strict=False):
            if self.blocks(before, node, after) is blocking:
                yield self._reason(before, node, after)

    def why_active(self, path: Path) -> str:
        """In words, what makes an active path one."""
        why = "; ".join(self.reasons(path, blocking=False)) or "one reads the other"
        return f"the path {self.drawn(path)} is active ({why})"

    def why_independent(self, a: str, b: str) -> str:
        """In words, after a colon or semicolon, what blocks each path between independent nodes."""
        fixed = sorted({a, b} & self.given)
        if fixed:
            return f": {fixed[0]} follows from what is given"
        paths = self.paths(a, b, _MOST_PATHS + 1)
        if not paths:
            return ": no path joins them"
        lines = [
            f"  {self.drawn(p)} ({'; '.join(self.reasons(p, blocking=True))})"
            for p in paths[:_MOST_PATHS]
        ]
        more = ["  ... and longer ones"] if len(paths) > _MOST_PATHS else []
        return "\n".join(["; every path is blocked:", *lines, *more])

    def _reason(self, before: str, node: str, after: str) -> str:
        import networkx as nx

        if node in self.factors:
            return f"{node} is a factor, which always counts as given"
        known = "given" if node in self.given else "not given"
        if not self.is_collider(before, node, after):
            forks = self.dag.has_edge(node, before) and self.dag.has_edge(node, after)
            return f"{node}, {'a common cause' if forks else 'in between'}, is {known}"
        below = sorted(nx.descendants(self.dag, node) & self.given)
        if node in self.given or not below:
            return f"{node}, a common effect, is {known}{'' if node in self.given else _NOR}"
        return f"{node}, a common effect, has {below[0]} below it, which is given"

    def _neighbours(self, node: str) -> Iterator[str]:
        yield from self.dag.predecessors(node)
        yield from self.dag.successors(node)
