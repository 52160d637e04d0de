"""What was captured or compiled for a density, kept by it for other data of the same layout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

from torch import Tensor
from torch.fx import GraphModule

from bayesmeta.capturing.capture import Outputs, capture
from bayesmeta.capturing.repeats import without_repeats
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density

Made = TypeVar("Made")
# Of a density: some ten are of one fit. One that adapts to ever new tasks would else fill memory.
_MOST = 64


def kept(density: Density, key: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` gives, made once for each key, and kept by the density for as long as it lives.

    Kept are the 64 that were asked for last. It is made anew where there is no key.

    Args:
        density: whose it is.
        key: what it depends on beside the density, None where that cannot be told.
        make: makes it.
    """
    if key is None:
        return make()
    known: OrderedDict[Hashable, Made] = density.solvers.setdefault("kept", OrderedDict())
    if key not in known:
        known[key] = make()
    known.move_to_end(key)
    found = known[key]
    while len(known) > _MOST:
        known.popitem(last=False)
    return found


def captured(
    density: Density,
    what: Hashable,
    tasks: Sequence[Tasks],
    function: Callable[..., Outputs],
    inputs: Sequence[Tensor],
    *,
    is_last: bool = False,
) -> GraphModule:
    """`capture(function, inputs)`, kept by the density: other data are other inputs of the graph.

    Args:
        density: whose function it is.
        what: tells the function from others of the density: its name, and all that it reads beside
            the density, the inputs and the layout of the tasks.
        tasks: whose layout it reads; of their tensors those that are inputs.
        function, inputs: as of `capture`.
        is_last: whether it is not to be differentiated any more, and so goes without repeats.
    """

    def make() -> GraphModule:
        graph = capture(function, inputs)
        return without_repeats(graph) if is_last else graph

    return kept(density, key_of((what, is_last), tasks, inputs), make)


def key_of(what: Hashable, tasks: Sequence[Tasks], inputs: Sequence[Tensor]) -> Hashable:
    """What a graph, and what is compiled of it, depends on; None where that cannot be told."""
    key = (
        what,
        tuple(layout(t) for t in tasks),
        tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs),
    )
    try:
        hash(key)
    except TypeError:  # a strategy with parts that have no hash
        return None
    return None if any(t.are_episodes for t in tasks) else key


def layout(tasks: Tasks) -> Hashable:
    """All that a model can read of tasks beside their tensors."""
    query = None if tasks.query is None else layout(tasks.query)
    columns = () if tasks.are_episodes else tuple(tasks.x)
    is_known = tasks.y is not None
    return (tasks.names, columns, is_known, tasks.ragged, tasks.is_query, tasks.dtype, query)
