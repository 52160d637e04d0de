"""What runs a density fast: graphs captured once, machine code, and the sampler that calls it.

- `noise`: random numbers and seeds, the same on every device
- `sources`: what torch keeps of the source of graphs
- `task_noise`: random numbers of each task that do not depend on others
- `capture_errors`: why a function is not one graph
- `capture`: functions of tensors as graphs
- `repeats`: what a graph computes twice
- `late_broadcast`: graphs rewritten to do work before a value is broadcast
- `cache`: machine code on disk
- `native`: a graph as a C function
- `nutpie_pointer`: that function for nutpie, by its address
- `sampler`: NUTS, by nutpie, on a log density
- `mixing`: R-hat and effective sample sizes of all entries at once
- `newton`: the minimum of a smooth function of some numbers
- `split_t`: a proposal for importance draws
- `conjugate_gradients`: many symmetric systems, by products alone
- `chunking`: how many tasks to differentiate at once
"""

from bayesmeta.engine.capture_errors import CaptureError

__all__ = ["CaptureError"]
