"""p(theta, phi | D) as draws: predictions, tasks never seen, ArviZ, trust, files.

- `predict`: functions of theta and phi at every draw
- `own_tasks`: which of its tasks are given
- `refine`: more work on single tasks
- `posterior`: the draws and what is done with them
- `prior`: a posterior that has seen nothing
- `arviz`: what ArviZ works on
- `diagnose`: can it be trusted?
- `saving`: posteriors on disk, without data
"""

from bayesmeta.posterior.posterior import Posterior
from bayesmeta.posterior.predict import Prediction
from bayesmeta.posterior.prior import prior
from bayesmeta.posterior.refine import Refine
from bayesmeta.posterior.saving import load

__all__ = ["Posterior", "Prediction", "Refine", "load", "prior"]
