"""p(theta, phi | D) as draws: predictions, tasks never seen, ArviZ, trust, files.

- `at_draws`: functions of theta and phi at every draw
- `discrete_states`: chances and draws of discrete latents that were summed out
- `draws`: theta and phi, and what made them: `Draws`
- `own_tasks`: which of a posterior's tasks are given, and what is known of their rows
- `predict`: outcomes, and how likely those are that were seen
- `refine`: more work on single tasks of an amortised posterior
- `adapt`: phi of tasks never seen
- `prior_draws`: draws that have seen nothing
- `arviz`: a posterior as what ArviZ works on
- `theta_weights`: a fitted q(theta) judged by importance weights
- `sampler_checks`: whether a sampler's draws can be trusted
- `summary`: a table of theta and phi
- `support_check`: whether the outcomes are possible at all draws
- `diagnose`: whether a posterior can be trusted
- `saving`: a posterior on disk, without data
- `posterior`: all of that on one object: `Posterior`
"""

from bayesmeta.posterior.posterior import Posterior, load, prior
from bayesmeta.posterior.predict import Prediction
from bayesmeta.posterior.refine import Refine

__all__ = ["Posterior", "Prediction", "Refine", "load", "prior"]
