"""A model's functions of tensors as graphs, which need no Pyro, and run fast and anywhere.

- `sources`: what torch keeps of the source of graphs
- `recording`: the operations that a function runs, as a graph
- `capture_errors`: why a function is not one graph
- `capture`: functions of tensors as graphs
- `repeats`: what a graph computes twice
- `late_broadcast`: graphs rewritten to do work before a value is broadcast
- `kept`: graphs that a density keeps for other data
- `chunking`: how many tasks to differentiate at once
"""

from bayesmeta.capturing.capture_errors import CaptureError

__all__ = ["CaptureError"]
