"""What knowing one thing says of another: entropy and mutual information of theta and phi, in nats.

    prior = bm.prior(model, tasks, draws=20_000)
    bm.information.entropy(prior, "phi")                    # H(phi_i): what is not known of phi_i
    bm.information.conditional_entropy(prior)               # H(phi_i | theta): once theta is known
    bm.information.mutual_information(prior, "phi", "theta")     # the difference: I(phi_i; theta)

- `normal_points`: what neighbours say of normal points, by which the estimates are corrected
- `nearest_neighbours`: entropy of points, by the distances between them
- `states`: entropy of discrete draws, by counts
- `errors`: estimates with the errors that they state
- `sites`: which sites are meant, and whether they have an entropy together
- `points`: draws of sites as points
- `known`: entropy where the density is known
- `routes`: which of these it is
- `estimates`: entropy of the sites of a posterior, with its error
"""

from bayesmeta.information.estimates import (
    Estimate,
    conditional_entropy,
    entropy,
    mutual_information,
)

__all__ = ["Estimate", "conditional_entropy", "entropy", "mutual_information"]
