"""Studies drawn from a model, with their truth.

- `drawn`: a study, of the density that is fitted
- `simulate`: studies with their truth
"""

from bayesmeta.simulation.simulate import Studies, Study, simulate

__all__ = ["Studies", "Study", "simulate"]
