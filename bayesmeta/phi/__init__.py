"""What is done with phi_i, task by task: one file one strategy."""

from bayesmeta.phi.base import Phi
from bayesmeta.phi.gradient_steps import GradientSteps
from bayesmeta.phi.joint import Joint

__all__ = ["GradientSteps", "Joint", "Phi"]
