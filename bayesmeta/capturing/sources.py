"""Graphs whose code is generated when they are first called, and whose source goes with it."""

from __future__ import annotations

import linecache
import weakref

from torch.fx import graph_module
from torch.fx._lazy_graph_module import _LazyGraphModule

# torch.fx writes the source of all code that it ever generated down, for tracebacks.
_written: dict[str, str] = getattr(getattr(graph_module, "_loader", None), "eval_cache", {})


class Recorded(_LazyGraphModule):
    """A graph that may be edited many times before it is called, and that leaves nothing behind.

    Code takes 10 to 40 ms to generate; sources are 5 to 50 kB each, with ten graphs a fit.
    """

    def real_recompile(self) -> None:
        """Generate the code, if the graph was changed since; that of before takes its source."""
        if self._needs_recompile():
            super().real_recompile()
            code = type(self).forward.__code__
            weakref.finalize(code, _forget, code.co_filename).atexit = False


def _forget(name: str) -> None:
    _written.pop(name, None)
    linecache.cache.pop(name, None)
