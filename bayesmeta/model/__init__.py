"""The model p(theta) prod_i p(phi_i | theta) prod_j p(y_ij | x_ij, phi_i): read off its plates.

- `handlers`: a model and its tasks under Pyro's handlers
- `checks`: what is refused: plates, shapes, supports
- `parents`: who depends on whom
- `structure`: what is theta, phi and data
- `flat_vectors`: where each site lies in flat theta and phi
- `location_scale`: sites x = loc + scale * u
- `density`: the factors of the model as pure functions
"""

from bayesmeta.model.checks import StructureError
from bayesmeta.model.structure import Structure, structure

__all__ = ["Structure", "StructureError", "structure"]
