"""Normal outcomes of many datapoints told by few numbers, so that a density costs its algebra.

- `skeleton`: a few rows by which all others are known
- `information`: what the data say of phi, as a matrix that is known
- `sufficient`: the density of a model on those rows, and sums over the others
"""

from bayesmeta.sufficiency.sufficient import Short, SufficientDensity, agree, sufficient

__all__ = ["Short", "SufficientDensity", "agree", "sufficient"]
