"""Distributions of torch and Pyro where a model needs more of them: supports, draws, censoring.

- `wrappers`: distributions less what is around them
- `samplers`: draws that are of their distribution
- `supports`: where densities are zero, and ways onto supports
- `quantile_operations`: quantiles that torch has not
- `normal_scores`: draws as functions of standard normal numbers
- `rewritten`: distributions without writes in place
- `censored`: outcomes known to be beyond a limit
"""

from bayesmeta.distributions.censored import Censored

__all__ = ["Censored"]
