"""The model p(theta) prod_i p(phi_i | theta) prod_j p(y_ij | x_ij, phi_i): read off its plates.

- `checks`: what is refused: plates, shapes, supports
- `structure`: what is theta, phi and data
- `enumeration`: finite discrete latents, summed out
- `checked_run`: a run with errors in words
- `padding`: padding that is read, refused
- `probes`: runs at other values
- `outcome_parts`: who reads outcomes
- `coupling`: do tasks, or datapoints, read each other
- `parents`: who depends on whom
- `observation`: what a run tells of outcomes
- `reading`: a model, read once for all that follows
- `flat_vectors`: where each site lies in flat theta and phi
- `location_scale`: sites x = loc + scale * u
- `density`: the factors of the model as pure functions
- `prior`: p(theta) and p(phi | theta)
- `outcomes`: log densities, draws and moments of y
"""

from bayesmeta.model.checks import StructureError
from bayesmeta.model.reading import structure
from bayesmeta.model.structure import Structure

__all__ = ["Structure", "StructureError", "structure"]
