"""What stands in nodes and plates, as LaTeX: names with the letters of their plates."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, groupby

from bayesmeta.diagram.diagram import Diagram, nested, pieces
from bayesmeta.diagram.latex import Alphabet, in_latex, in_mathtext, spelled, symbol, words
from bayesmeta.diagram.vertices import QUERY, SUPPORT, Vertex
from bayesmeta.model.checks import DATA, TASKS

_LETTERS = {TASKS: "i", DATA: "j"}
_MORE_LETTERS = "klmqrstuvw"


def letters(nodes: Mapping[str, Vertex]) -> dict[str, str]:
    """The index of each plate: i for "tasks", j for "data", then k, l, ..., k_1, l_1, ..."""
    plates = dict.fromkeys(p for v in nodes.values() for p in v.plates)
    more = (f"{x}_{{{n}}}" if n else x for n in count() for x in _MORE_LETTERS)
    return {p: _LETTERS.get(p) or next(more) for p in plates}


def labels(nodes: Mapping[str, Vertex], alphabet: Alphabet = in_latex) -> dict[str, str]:
    r"""Each node's name with its plates' indices below and its half of the data above.

    Where names would look alike, as "mu" and "μ" do, all but the shortest are spelled.
    """
    letter = letters(nodes)
    index = {v.name: [letter[p] for p in v.plates] for v in nested(nodes).values()}
    found = {v.name: _label(v, index[v.name], alphabet) for v in nodes.values()}
    for _, alike in groupby(sorted(found, key=lambda n: (found[n], len(n), n)), key=found.get):
        for name in [*alike][1:]:
            found[name] = spelled(name, index[name], alphabet)
    return found


def _label(vertex: Vertex, index: list[str], alphabet: Alphabet) -> str:
    for part in (SUPPORT, QUERY):
        name = vertex.name.removesuffix(f"_{part}")
        if DATA in vertex.plates and name != vertex.name:
            return symbol(name, index, part, alphabet)
    return symbol(vertex.name, index, alphabet=alphabet)


def node_labels(
    diagram: Diagram, given: Mapping[str, str] | None, alphabet: Alphabet = in_mathtext
) -> dict[str, str]:
    """LaTeX of each node, by name: what is given, or its own."""
    given = {} if given is None else given
    if not isinstance(given, Mapping) or not all(isinstance(t, str) for t in given.values()):
        raise TypeError(
            f"labels={given!r} is no dict of strings; give LaTeX by name, {{'mu': r'\\mu'}}"
        )
    if unknown := sorted(set(given) - set(diagram.nodes)):
        raise ValueError(
            f"labels were given for {', '.join(unknown)}, but the nodes are "
            f"{', '.join(diagram.nodes)}"
        )
    own = labels(diagram.nodes, alphabet)
    return own | {name: text.strip("$") for name, text in given.items()}


def plate_labels(diagram: Diagram, alphabet: Alphabet = in_mathtext) -> dict[str, str]:
    """What stands in the corner of each plate: its name, its index, and how far that goes."""
    parts = [diagram.tasks, *([] if diagram.tasks.query is None else [diagram.tasks.query])]
    sizes = {int(n) for part in parts for n in part.sizes.unique()}
    reach = {TASKS: _reach(diagram.tasks.num_tasks), DATA: r" = 1, \ldots, n_i"}
    if len(sizes) == 1:
        reach[DATA] = _reach(sizes.pop())
    cut = pieces(diagram.nodes)
    more = {plate: _across(diagram, plate, alphabet) for plate in (TASKS, DATA)}
    return {
        plate: rf"{words(plate, alphabet)}\ \ {letter}{reach.get(plate, '')}{_parts(cut[plate])}"
        + more.get(plate, "")
        for plate, letter in letters(diagram.nodes).items()
    }


def _across(diagram: Diagram, plate: str, alphabet: Alphabet) -> str:
    """Which nodes read those of other datapoints, or tasks, as no arrow shows."""
    nodes = diagram.nodes.values()
    names = [v.name for v in nodes if (v.of_others if plate == TASKS else v.elsewhere)]
    said = f" ({', '.join(names)} {'reads' if len(names) == 1 else 'read'} across)"
    return rf"\ {words(said.strip(), alphabet)}" if names else ""


def _reach(count: int) -> str:
    return " = 1" if count == 1 else " = 1, 2" if count == 2 else rf" = 1, \ldots, {count}"


def _parts(count: int) -> str:
    """Where a plate crosses another, its sites stand in parts of it, all with one index."""
    return "" if count == 1 else rf"\ \ \mathrm{{(in\ {count}\ parts)}}"
