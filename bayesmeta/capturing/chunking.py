"""How many tasks to differentiate at once: by what a captured graph holds in memory."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

_SHARE = 0.5
# Below it (some hundred kilobytes of data and phi) no step comes near the memory of any machine.
_SMALL = 100_000


def is_small(numbers: int) -> bool:
    """Whether so many numbers, of data and phi together, need no thought for memory."""
    return numbers <= _SMALL


def chunk_sizes(count: int, at_most: int) -> list[int]:
    """`count` in as few parts of at most `at_most` as it takes, which differ by 1 at most."""
    parts = -(-count // max(1, at_most))
    base, extra = divmod(count, parts)
    return [base + 1] * extra + [base] * (parts - extra)


def fitting(graph: GraphModule, device: torch.device) -> int:
    """How many tasks fit into half of the free memory, by the graph of a single one; at least 1.

    What the graph holds for all tasks together counts as if each task had it.
    """
    return max(1, int(_SHARE * free_bytes(device)) // max(1, peak_bytes(graph)))


def free_bytes(device: torch.device) -> int:
    """The memory that is free on the device, in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def most_groups(graph: GraphModule) -> int:
    """The largest number of groups that a convolution of the graph has; 0 without convolutions.

    Tasks that convolve with weights of their own, batched, are groups of one convolution.
    """
    convolution = torch.ops.aten.convolution.default
    found = [int(n.args[8]) for n in graph.graph.nodes if n.target is convolution]
    return max(found, default=0)


def peak_bytes(graph: GraphModule) -> int:
    """The most that a captured graph holds at a time, in bytes, inputs and constants included.

    Views hold nothing of their own, but keep alive what they look at.
    """
    nodes = list(graph.graph.nodes)
    root: dict[Node, Node] = {}
    last: dict[Node, int] = {}
    for place, node in enumerate(nodes):
        root[node] = root[node.all_input_nodes[0]] if _is_view(node) else node
        for given in node.all_input_nodes:
            last[root[given]] = place
    dies: dict[int, list[Node]] = {}
    for node, place in last.items():
        dies.setdefault(place, []).append(node)
    held = peak = 0
    for place, node in enumerate(nodes):
        held += _bytes(node) if root[node] is node else 0
        peak = max(peak, held)
        held -= sum(_bytes(gone) for gone in dies.get(place, ()) if gone.op != "placeholder")
    return peak


def _is_view(node: Node) -> bool:
    return bool(getattr(node.target, "is_view", False)) and bool(node.all_input_nodes)


def _bytes(node: Node) -> int:
    return sum(x.numel() * x.element_size() for x in _tensors(node.meta.get("val")))


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
