"""What runs a density fast: graphs captured once, machine code, and the sampler that calls it.

- `noise`: random numbers that are the same on every device
- `capture`: functions of tensors to graphs
- `broadcast`: graphs that do work before it is broadcast
- `cache`: machine code on disk
- `native`: a graph as a C function
- `sampler`: nutpie on it
- `chunking`: how many tasks to differentiate at once
"""

from bayesmeta.engine.capture import CaptureError

__all__ = ["CaptureError"]
