"""Everything about p(phi_i | D_i, theta), one task's phi: its mode, curvature, evidence, draws.

- `elimination`: many small positive definite systems at once
- `positive_definite`: a positive definite matrix a task
- `curvature`: log p(phi_i, D_i | theta) to second order
- `gauss_newton`: the same, of low rank, for networks
- `conditional`: its graphs, run at many theta at once
- `ascent`: its maxima
- `conditional_draws`: draws of it, by Hamiltonian Monte Carlo
- `conjugate_gradients`: many symmetric systems, by products alone
- `implicit_mode`: the mode as one operation of a captured graph
- `normal_nodes`: nodes and weights of a standard normal
- `particles`: densities at several phi of a task at once
- `importance`: importance weights
- `partial_density`: the density in some of phi
"""

from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.gauss_newton import GaussNewton

__all__ = ["GaussNewton", "Hessian"]
