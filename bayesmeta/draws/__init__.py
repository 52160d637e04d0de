"""Theta and phi as draws: of tasks never seen, with outcomes, of the prior.

- `at_draws`: functions of theta and phi at every draw
- `discrete_states`: chances and draws of discrete latents that were summed out
- `draws`: theta and phi, and what made them: `Draws`
- `own_tasks`: which of a posterior's tasks are given, and what is known of their rows
- `predict`: outcomes, and how likely those are that were seen
- `refine`: more work on single tasks of an amortised posterior
- `adapt`: phi of tasks never seen
- `prior_draws`: draws that have seen nothing
- `evidence`: log p(D_i | theta) at draws of theta
- `joined`: tasks side by side
- `same_rows`: which datapoints are among others
- `update`: theta learns from further tasks
"""

from bayesmeta.draws.draws import Draws
from bayesmeta.draws.predict import Prediction
from bayesmeta.draws.refine import Refine

__all__ = ["Draws", "Prediction", "Refine"]
