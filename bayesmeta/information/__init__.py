"""What knowing one thing says of another: entropy and mutual information of theta and phi, in nats.

    prior = bm.prior(model, tasks, draws=20_000)
    bm.information.entropy(prior, "phi")                    # H(phi_i): what is not known of phi_i
    bm.information.conditional_entropy(prior)               # H(phi_i | theta): once theta is known
    bm.information.mutual_information(prior, "phi", "theta")     # the difference: I(phi_i; theta)

- `nearest_neighbours`: entropy of points, by the distances between them
- `estimates`: entropy of the sites of a posterior, with its Monte Carlo error
"""

from bayesmeta.information.estimates import (
    Estimate,
    conditional_entropy,
    entropy,
    mutual_information,
)

__all__ = ["Estimate", "conditional_entropy", "entropy", "mutual_information"]
