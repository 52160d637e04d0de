"""What is done with theta, which all tasks share: one file one strategy.

- `base`: the contract
- `fixed`: it is known
- `point`: the best one (MAP)
- `families`, `noncentring`, `gaussian`: the normal closest to its posterior
- `nuts`: draws of its posterior
- `pairs`: which strategies, and which arguments of fit, go together
"""

from bayesmeta.theta.base import Theta
from bayesmeta.theta.families import FullRank, LowRank, MeanField
from bayesmeta.theta.fixed import Fixed
from bayesmeta.theta.gaussian import Gaussian
from bayesmeta.theta.nuts import NUTS
from bayesmeta.theta.point import Point

__all__ = ["NUTS", "Fixed", "FullRank", "Gaussian", "LowRank", "MeanField", "Point", "Theta"]
