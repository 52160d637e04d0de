"""What is done with theta, which all tasks share: one file one strategy.

- `base`, `levels`: the contract; what strategies share
- `fixed`: it is known
- `log_posterior`: log p(theta, D) as a function of theta alone, and its maximum
- `pilot`: the posterior of theta roughly, to start from and to take units from
- `noncentring`: which sites of phi to treat as loc + scale * u
- `families`, `units`: normal distributions of theta and phi, and the same in a pilot's units
- `convergence`: whether a search ended where it should have
- `point`: the best one (MAP)
- `gaussian`: the normal closest to the posterior of theta and phi
- `importance`: draws of it by weights
- `joint_vector`: theta and phi as one vector
- `starts`, `nuts`: where chains start; draws of the posterior
- `pair_checks`: which strategies, and which arguments of fit, go together
"""

from bayesmeta.theta.base import Theta
from bayesmeta.theta.families import FullRank, LowRank, MeanField
from bayesmeta.theta.fixed import Fixed
from bayesmeta.theta.gaussian import Gaussian
from bayesmeta.theta.importance import Importance
from bayesmeta.theta.nuts import NUTS
from bayesmeta.theta.point import Point

__all__ = [
    "NUTS",
    "Fixed",
    "FullRank",
    "Gaussian",
    "Importance",
    "LowRank",
    "MeanField",
    "Point",
    "Theta",
]
