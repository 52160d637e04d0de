"""Graphs rewritten so that work on a broadcast value is done before it is broadcast."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

_aten = torch.ops.aten


def work_before_broadcast(graph: GraphModule) -> GraphModule:
    """The same function with `expand` after pointwise operations, and no division in long loops.

    A scale that all data share reaches a density expanded to every datapoint, and its logarithm
    and square are taken there. Here log(expand(s)) becomes expand(log(s)), and x / expand(s)
    becomes x * (1 / s), which may change the last bit.

    Args:
        graph: as it was captured; it is edited.
    """
    for node in list(graph.graph.nodes):
        if _is_pointwise(node):
            _rewrite(graph.graph, node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _is_pointwise(node: Node) -> bool:
    return (
        isinstance(node.target, torch._ops.OpOverload)
        and torch.Tag.pointwise in node.target.tags
        and not node.kwargs
        # A constant of the graph has no recorded shape.
        and all("val" in n.meta for n in node.all_input_nodes)
    )


def _rewrite(graph: Graph, node: Node) -> None:
    """Replace op(expand(a), b) by op(a, b), expanded after it where b does not do that."""
    whole: Tensor = node.meta["val"]
    arguments = tuple(_unexpanded(a) for a in node.args)
    shape = torch.broadcast_shapes(*(a.meta["val"].shape for a in arguments if _is_node(a)))
    with graph.inserting_before(node):
        target, arguments = _without_division(graph, node.target, arguments, shape)
        new = graph.call_function(target, arguments)
        new.meta["val"] = whole.new_empty(shape)
        if shape != whole.shape:
            new = graph.call_function(_aten.expand.default, (new, list(whole.shape)))
            new.meta["val"] = whole
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _without_division(
    graph: Graph, target: Any, arguments: tuple[Any, ...], shape: torch.Size
) -> tuple[Any, tuple[Any, ...]]:
    """Multiplication by the reciprocal of a divisor that is smaller than the result."""
    if target is not _aten.div.Tensor or not _is_node(arguments[1]):
        return target, arguments
    divisor: Tensor = arguments[1].meta["val"]
    if divisor.numel() >= shape.numel() or not divisor.is_floating_point():
        return target, arguments
    inverse = graph.call_function(_aten.reciprocal.default, (arguments[1],))
    inverse.meta["val"] = divisor
    return _aten.mul.Tensor, (arguments[0], inverse)


def _unexpanded(argument: Any) -> Any:
    while _is_node(argument) and argument.target is _aten.expand.default:
        argument = argument.args[0]
    return argument


def _is_node(argument: Any) -> bool:
    return isinstance(argument, Node)
