"""p(theta, phi | D) on one object: its draws, ArviZ, trust, files.

- `log_priors`: what the priors say of each draw, and draws on the unconstrained scale
- `arviz`: a posterior as what ArviZ works on
- `theta_weights`: a fitted q(theta) judged by importance weights
- `theta_beside`: theta of chains beside theta by weights, where phi has hills
- `hill_checks`: hills of phi that a fit does not see, or has by other shares
- `sampler_checks`: whether a sampler's draws can be trusted
- `summary`: a table of theta and phi
- `support_check`: whether the outcomes are possible at all draws
- `unlike_tasks`: tasks unlike those that a network was trained on
- `diagnose`: whether a posterior can be trusted
- `own_data`: the data of a posterior that was loaded
- `saving`: a posterior on disk, without data
- `posterior`: all of that on one object: `Posterior`
"""

from bayesmeta.posterior.posterior import Posterior, load, prior

__all__ = ["Posterior", "load", "prior"]
