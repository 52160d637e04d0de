"""Random plate diagrams: nested, crossing and misordered plates around up to twelve nodes."""

from __future__ import annotations

import random

from bayesmeta.diagram.vertices import Vertex
from bayesmeta.model.structure import Role

PLATES = ("tasks", "data", "regions", "features")


def random_nodes(seed: int) -> dict[str, Vertex]:
    """Nodes "a", "b", ... in a random order of plates, each of which reads some before it.

    An even seed has plates one inside the other or side by side; an odd one any sets of plates.
    """
    rng = random.Random(seed)
    inside = {p: (*inside_of, p) for p, inside_of in _forest(rng).items()}
    nodes: dict[str, Vertex] = {}
    for name in "abcdefghijkl"[: rng.randint(2, 12)]:
        plates = [*rng.choice([(), *inside.values()])]
        if seed % 2:
            plates = rng.sample(PLATES, rng.choice((0, 1, 1, 2, 2, 3)))
        rng.shuffle(plates)
        parents = rng.sample([*nodes], min(len(nodes), rng.choice((0, 1, 1, 2, 3))))
        nodes[name] = Vertex(name, rng.choice((Role.PHI, Role.DATA)), tuple(plates), (*parents,))
    return nodes


def _forest(rng: random.Random) -> dict[str, tuple[str, ...]]:
    """The plates around each plate."""
    around: dict[str, tuple[str, ...]] = {}
    for plate in rng.sample(PLATES, 4):
        outer = rng.choice([None, *around])
        around[plate] = () if outer is None else (*around[outer], outer)
    return around
