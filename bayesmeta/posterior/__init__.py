"""p(theta, phi | D) as draws: predictions, tasks never seen, ArviZ, trust, files.

- `at_draws`: functions of theta and phi at every draw
- `draws`: theta and phi, and what made them
- `own_tasks`: which of its tasks are given
- `predict`: outcomes, and how likely those seen are
- `refine`: more work on single tasks
- `adapt`: phi of tasks never seen
- `prior`: draws that have seen nothing
- `arviz`: what ArviZ works on
- `diagnose`: can it be trusted?
- `saving`: on disk, without data
- `posterior`: all of that on one object
"""

from bayesmeta.posterior.posterior import Posterior, load, prior
from bayesmeta.posterior.predict import Prediction
from bayesmeta.posterior.refine import Refine

__all__ = ["Posterior", "Prediction", "Refine", "load", "prior"]
