"""What importance weights of theta say of a Gaussian that was fitted to its posterior."""

from __future__ import annotations

import torch
from torch import Tensor

from bayesmeta.draws.draws import Draws
from bayesmeta.task_level.importance import TRUSTED_K, smoothed, without_nan
from bayesmeta.theta.convergence import coordinates
from bayesmeta.theta.log_posterior import LogPosterior

# So many draws of theta, and fewer of very many tasks, whose evidence each of them takes.
_MOST_DRAWS, _FEWEST_DRAWS, _EVIDENCES = 1000, 200, 2_000_000
# Student's t around q, whose tails show what q misses; in many dimensions few of its draws count.
_FREEDOM, _MOST_THETA = 5, 20
# In sds of q, and of one: what Monte Carlo error of so many draws does not explain.
_FAR, _WIDE = 0.35, 1.35


def doubts_about_theta(posterior: Draws) -> tuple[list[str], float | None]:
    """Problems with q(theta), and the Pareto k of p(theta, D) / q(theta); none where it is unknown.

    Moments of q are compared with those of the posterior by weighted draws of a t around q: a
    Gaussian that is too narrow has weights of its own that hardly tell.
    """
    target, log_q = posterior.theta_target, posterior.fit.log_q
    if target is None or log_q is None:
        return [], None
    theta = posterior.fit.theta.flatten(0, 1).double()
    count = min(_MOST_DRAWS, max(_FEWEST_DRAWS, _EVIDENCES // posterior.tasks.num_tasks))
    own = _log_p(target, theta[:count]) - log_q.flatten()[:count]
    if not bool(torch.isfinite(own).any()):
        return [], None
    k = float(smoothed(without_nan(own)[:, None])[1][0])
    if not k <= TRUSTED_K:
        return [
            f"Pareto k of theta is {k:.2f} (should be at most {TRUSTED_K}): the Gaussian misses "
            "part of the posterior of theta, so that means and standard deviations may be off; "
            "sample with theta=bm.NUTS(), or train longer"
        ], k
    return _about_moments(posterior, target, theta, count), k


def _log_p(target: LogPosterior, theta: Tensor) -> Tensor:
    return -target.slopes(theta)[0]


def _about_moments(posterior: Draws, target: LogPosterior, theta: Tensor, count: int) -> list[str]:
    if theta.shape[1] > _MOST_THETA:
        return []
    mean, covariance = theta.mean(0), theta.T.cov().reshape(len(theta.T), -1)
    x, log_t = _around(mean, torch.linalg.cholesky(covariance), count)
    log_weights, k = smoothed(without_nan(_log_p(target, x) - log_t)[:, None])
    if not k[0] <= TRUSTED_K:
        return []
    weights = log_weights.softmax(0)
    right = (weights * x).sum(0)
    right_sd = (weights * (x - right).square()).sum(0).sqrt()
    sd = covariance.diagonal().sqrt()
    off, ratio = (right - mean).abs() / right_sd, sd / right_sd
    wide = torch.maximum(ratio, 1 / ratio)
    names, found = coordinates(posterior.density), []
    if off.max() > _FAR:
        at = int(off.argmax())
        found.append(f"the mean of {names[at]} is {off[at]:.2g} standard deviations off")
    if wide.max() > _WIDE:
        at = int(wide.argmax())
        found.append(f"the standard deviation of {names[at]} is {ratio[at]:.2g} of the right one")
    if not found:
        return []
    return [
        f"By importance weights {', and '.join(found)}, unconstrained: integrate phi out, as by "
        "phi=bm.Laplace(), train longer, or sample with theta=bm.NUTS()"
    ]


def _around(mean: Tensor, root: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Draws (count, d_theta) of Student's t, and their log density up to a constant."""
    generator, d = torch.Generator().manual_seed(0), len(mean)
    z = torch.randn(count, d + _FREEDOM, dtype=mean.dtype, generator=generator, device="cpu")
    chi = z[:, d:].square().mean(1, keepdim=True)
    t = (z[:, :d] / chi.sqrt()).to(mean)
    log_t = -0.5 * (_FREEDOM + d) * (t.square().sum(1) / _FREEDOM).log1p()
    return mean + t @ root.T, log_t
