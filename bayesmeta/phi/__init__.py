"""What is done with phi_i, task by task, given theta and D_i: one file one strategy.

- `base`, `integrated`: the contract; what Exact and Laplace have in common
- `prior_draws`: of tasks without datapoints
- `hmc`, `joint`: draws of it, for each theta or together with theta
- `gradient_steps`, `reptile_steps`, `mode`, `fine_tune`: a point (MAML, Reptile, iMAML, transfer)
- `exact`, `laplace`, `post_hoc_laplace`: a normal, in closed form or around a point
- `variational_steps`, `stein`: a distribution, fitted to each task
- `amortised`: a distribution, by one network for all tasks
- `checks`: whether draws of phi are to be trusted
"""

from bayesmeta.phi.amortised import Amortised
from bayesmeta.phi.base import Phi
from bayesmeta.phi.exact import Exact
from bayesmeta.phi.fine_tune import FineTune
from bayesmeta.phi.gradient_steps import GradientSteps
from bayesmeta.phi.hmc import HMC
from bayesmeta.phi.joint import Joint
from bayesmeta.phi.laplace import Laplace
from bayesmeta.phi.mode import Mode
from bayesmeta.phi.post_hoc_laplace import PostHocLaplace
from bayesmeta.phi.reptile_steps import ReptileSteps
from bayesmeta.phi.stein import SteinParticles
from bayesmeta.phi.variational_steps import VariationalSteps

__all__ = [
    "HMC",
    "Amortised",
    "Exact",
    "FineTune",
    "GradientSteps",
    "Joint",
    "Laplace",
    "Mode",
    "Phi",
    "PostHocLaplace",
    "ReptileSteps",
    "SteinParticles",
    "VariationalSteps",
]
