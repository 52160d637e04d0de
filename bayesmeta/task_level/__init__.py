"""Everything about p(phi_i | D_i, theta), one task's phi: its mode, curvature, evidence, draws.

- `elimination`: many small positive definite systems solved at once
- `positive_definite`: a matrix a task, in the form that is quick to solve
- `scored_density`: the density with phi as a function of standard normals
- `curvature`: log p(phi_i, D_i | theta) to second order: the Hessian
- `gauss_newton`: a positive curvature of low rank, for networks
- `conditional_graphs`: log p(phi_i, D_i | theta) as graphs, run at many theta at once
- `levenberg_marquardt`: Gauss-Newton steps for many tasks, each as many as it needs
- `ascent`: the search for the mode of phi_i
- `implicit_mode`: the mode as one operation inside a captured graph
- `normal_nodes`: nodes and weights to integrate over a standard normal
- `particles`: densities at several phi of a task at once
- `importance`: importance weights, and the shape of their tail
- `corrected_draws`, `conditional_draws`: draws of p(phi_i | D_i, theta), by importance weights and
  by Hamiltonian Monte Carlo
- `two_starts`: whether chains that began apart have come to the same
- `partial_density`: the density in some of phi
"""

from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.gauss_newton import GaussNewton

__all__ = ["GaussNewton", "Hessian"]
