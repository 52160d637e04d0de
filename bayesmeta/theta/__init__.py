"""What is done with the shared latent theta: one file one strategy."""

from bayesmeta.theta.base import Theta
from bayesmeta.theta.families import FullRank, LowRank, MeanField
from bayesmeta.theta.fixed import Fixed
from bayesmeta.theta.gaussian import Gaussian
from bayesmeta.theta.nuts import NUTS
from bayesmeta.theta.point import Point

__all__ = ["NUTS", "Fixed", "FullRank", "Gaussian", "LowRank", "MeanField", "Point", "Theta"]
