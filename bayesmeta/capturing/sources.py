"""The generated source of graphs, kept for as long as their code, and not for ever."""

from __future__ import annotations

import linecache
import weakref

from torch.fx import GraphModule, graph_module

# torch.fx writes the source of all code that it ever generated down, for tracebacks.
_written: dict[str, str] = getattr(getattr(graph_module, "_loader", None), "eval_cache", {})


def recompile(graph: GraphModule) -> GraphModule:
    """Generate the code of a graph that was changed anew; that of before takes its source along."""
    graph.recompile()
    return let_go(graph)


def let_go(graph: GraphModule) -> GraphModule:
    """The graph, whose source goes when its code does: 5 to 50 kB each, with ten graphs a fit."""
    code = type(graph).forward.__code__
    weakref.finalize(code, _forget, code.co_filename).atexit = False
    return graph


def _forget(name: str) -> None:
    _written.pop(name, None)
    linecache.cache.pop(name, None)
