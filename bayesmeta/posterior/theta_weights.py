"""What importance weights of theta say of a Gaussian that was fitted to its posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.posterior.draws import Draws
from bayesmeta.task_level.importance import TRUSTED_K, smoothed
from bayesmeta.theta.convergence import coordinates

# In sds of q, and of one: what Monte Carlo error of 500 draws does not explain.
_FAR, _WIDE = 0.35, 1.35


def doubts_about_theta(posterior: Draws) -> tuple[list[str], float | None]:
    """Problems with q(theta), and the Pareto k of p(theta, D) / q(theta); none where it is unknown.

    Moments are compared with those that the weights give, which tell of a Gaussian that is too
    wide as well as of one that is too narrow.
    """
    weights = posterior.theta_log_weights
    if weights is None or not bool(torch.isfinite(weights).any()):
        return [], None
    log_weights, shape = smoothed(weights.nan_to_num(nan=-torch.inf)[:, None])
    k = float(shape[0])
    theta = posterior.fit.theta.flatten(0, 1)[: len(weights)].double()
    if not k <= TRUSTED_K:
        return [
            f"Pareto k of theta is {k:.2f} (should be at most {TRUSTED_K}): the Gaussian misses "
            "part of the posterior of theta, so that means and standard deviations may be off; "
            "sample with theta=bm.NUTS(), or train longer"
        ], k
    return _about_moments(posterior, theta, log_weights.exp()), k


def _about_moments(posterior: Draws, theta: Tensor, weights: Tensor) -> list[str]:
    weights = weights / weights.sum()
    mean = (weights * theta).sum(0)
    sd = (weights * (theta - mean).square()).sum(0).sqrt()
    off, ratio = (mean - theta.mean(0)).abs() / theta.std(0), theta.std(0) / sd
    wide = torch.maximum(ratio, 1 / ratio)
    names, found = coordinates(posterior.density), []
    if off.max() > _FAR:
        at = int(off.argmax())
        found.append(f"the mean of {names[at]} is {off[at]:.2g} standard deviations off")
    if wide.max() > _WIDE:
        at = int(wide.argmax())
        found.append(
            f"the standard deviation of {names[at]} is {ratio[at]:.2g} times the right one"
        )
    if not found:
        return []
    return [
        f"By importance weights {', and '.join(found)}, unconstrained: train longer, "
        "adam=bm.Adam(steps=..., patience=0), or sample with theta=bm.NUTS()"
    ]
