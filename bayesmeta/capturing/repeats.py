"""What a captured graph computes twice, or does not change, costs nothing more."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

_aten = torch.ops.aten
_DETACHED = {_aten.detach.default, _aten.alias.default}
_SHAPED = {_aten.expand.default, _aten.view.default}


def without_repeats(graph: GraphModule) -> GraphModule:
    """The graph, edited: to the last bit the same, without the operations that it repeats.

    Every site of a model that reads theta unflattens it anew, and so does each gradient step, and
    what is detached, or expanded to its own shape, stays what it is: a tenth to a fifth of the
    nodes, at some microseconds each. The graph is not to be differentiated any more.
    """
    first: dict[tuple[Any, str], Node] = {}
    for node in list(graph.graph.nodes):
        if node.op != "call_function":
            continue
        # 1 and 1.0 are equal, and are not the same to torch.
        said = node.target, repr((node.args, node.kwargs))
        if _is_its_input(node):
            node.replace_all_uses_with(node.args[0])
        elif _is_repeatable(node) and first.setdefault(said, node) is not node:
            node.replace_all_uses_with(first[said])
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _is_repeatable(node: Node) -> bool:
    """Whether another like it gives the same, and may be the same tensor."""
    schema, tags = getattr(node.target, "_schema", None), getattr(node.target, "tags", ())
    if schema is None:
        return True
    is_filled_later = "empty" in str(node.target)
    return not (schema.is_mutable or torch.Tag.nondeterministic_seeded in tags or is_filled_later)


def _is_its_input(node: Node) -> bool:
    if node.target in _DETACHED:
        return True
    if node.target not in _SHAPED:
        return False
    (before, *_) = node.all_input_nodes
    return bool(node.meta["val"].shape == before.meta["val"].shape)
