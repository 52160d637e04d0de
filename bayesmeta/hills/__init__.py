"""Where p(phi_i | D_i, theta) has several hills: which they are, their masses, draws from all.

- `given_states`: the density given the value of a discrete latent, which has a hill for each
- `mixture`: hills and their masses by Laplace's method, and draws by importance weights
- `searches`: hills of any model, by searches from draws of the prior, and what they hold
"""

from bayesmeta.hills.given_states import GivenStates, by_states, check_rows, states_of
from bayesmeta.hills.mixture import Hills, Mixed, hills_of, mixed
from bayesmeta.hills.searches import Masses, masses_of, search_hills

__all__ = [
    "GivenStates",
    "Hills",
    "Masses",
    "Mixed",
    "by_states",
    "check_rows",
    "hills_of",
    "masses_of",
    "mixed",
    "search_hills",
    "states_of",
]
