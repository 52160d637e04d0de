"""What runs a captured density fast: machine code, the sampler that calls it, and other solvers.

- `noise`: random numbers and seeds, the same on every device
- `task_noise`: random numbers of each task that do not depend on others
- `cache`: machine code on disk
- `native`: a graph as a C function
- `nutpie_pointer`: that function for nutpie, by its address
- `sampler`: NUTS, by nutpie, on a log density
- `mixing`: R-hat and effective sample sizes of all entries at once
- `newton`: the minimum of a smooth function of some numbers
- `split_t`: a proposal for importance draws
- `conjugate_gradients`: many symmetric systems, by products alone
"""
