"""Theta of chains of theta and phi beside theta by weights, where phi has hills to get across."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.draws.draws import Draws
from bayesmeta.engine.mixing import mcse_mean, mcse_sd
from bayesmeta.engine.split_t import SplitT
from bayesmeta.hills import states_of
from bayesmeta.model.checks import first_few
from bayesmeta.phi.laplace import Laplace
from bayesmeta.task_level.importance import TRUSTED_K, smoothed, without_nan
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.pilot import is_for_newton

# Numbers of theta of which few weighted draws say something; draws of it a round, and rounds; and
# evidences, of each task at each value, that take some seconds.
_MOST_THETA, _DRAWS, _ROUNDS, _EVIDENCES, _FEWEST = 20, 1500, 3, 400_000, 300
# In posterior sds and as a factor: what matters where phi is integrated out exactly, and where by
# particles; and how many Monte Carlo errors.
_EXACTLY, _BY_PARTICLES, _ERRORS = (0.1, 1.1), (0.3, 1.35), 4.0
# Particles, and nats a task by which they differ from Laplace's method where that is exact.
_PARTICLES, _SAME = 16, 1e-6


class _Moments(NamedTuple):
    """Means and sds of entries, with their Monte Carlo errors, each (entries,)."""

    mean: np.ndarray
    sd: np.ndarray
    mean_error: np.ndarray
    sd_error: np.ndarray


def about_hills_of_kinds(posterior: Draws) -> list[str]:
    """Chains of theta and phi beside draws of theta with phi integrated out, value by value.

    Given each value of a task's discrete latents phi has a hill. Chains of theta and phi have to
    get from one to the other, and where they seldom do they also miss the theta at which there are
    several, such as a large scale: all chains alike, so that R-hat is none the wiser.
    """
    if not _is_for_it(posterior):
        return []
    target, phi, matters = _integrated(posterior)
    chains, weights = _of_chains(posterior), _of_weights(posterior, target)
    if weights is None:
        return []
    labels = _labels(posterior)
    told = [
        f"{labels[k]} is {weights.mean[k]:.3g} +- {weights.sd[k]:.2g}, and "
        f"{chains.mean[k]:.3g} +- {chains.sd[k]:.2g} by the chains"
        for k in _differ(chains, weights, *matters)
    ]
    if not told:
        return []
    names = ", ".join(posterior.structure.discrete)
    return [
        "Chains of theta and phi do not get across the hills of phi as often as they should, of "
        f"which there is one for each value of {names}: with phi integrated out for each, "
        f"{first_few(told)}. Take {phi}, which sums over them."
    ]


def _differ(one: _Moments, other: _Moments, most: float, most_sd: float) -> list[int]:
    """Which entries differ by what matters, and by more than Monte Carlo errors."""
    error = np.hypot(one.mean_error, other.mean_error)
    off = np.abs(one.mean - other.mean)
    bad = (off > most * other.sd) & (off > _ERRORS * error)
    error = np.hypot(one.sd_error, other.sd_error)
    off = np.abs(one.sd - other.sd)
    bad |= (np.abs(np.log(one.sd / other.sd)) > np.log(most_sd)) & (off > _ERRORS * error)
    found: list[int] = np.flatnonzero(bad).tolist()
    return found


def _is_for_it(posterior: Draws) -> bool:
    density, tasks = posterior.density, posterior.tasks
    sampled = posterior.strategy.is_joint and bool(posterior.fit.stats)
    if not sampled or posterior.fit.is_adapted or not bool(tasks.mask.any()):
        return False
    rows = states_of(density) * tasks.num_tasks
    is_small = density.d_theta <= _MOST_THETA and rows * _FEWEST <= _EVIDENCES
    is_kind = states_of(density) > 1 and density.width(tasks) > 0
    return is_kind and is_small and is_for_newton(density, tasks, Laplace())


def _integrated(posterior: Draws) -> tuple[LogPosterior, str, tuple[float, float]]:
    """p(theta, D) by Laplace's method, with particles where it is not exact.

    With how it is written, and what matters.
    """
    density, tasks = posterior.density, posterior.tasks.to(dtype=torch.float64)
    phis = Laplace(), Laplace(particles=_PARTICLES)
    plain, better = (LogPosterior(density, phi, tasks, jacobian=True) for phi in phis)
    draws = posterior.fit.theta.flatten(0, 1).double()
    some = draws[[0, len(draws) // 2, -1]]
    if bool((plain.values(some) - better.values(some)).abs().max() < _SAME * len(tasks)):
        return plain, "phi=bm.Laplace()", _EXACTLY
    return better, f"phi=bm.Laplace(particles={_PARTICLES})", _BY_PARTICLES


def _labels(posterior: Draws) -> list[str]:
    found = []
    for name, value in posterior.theta_values.items():
        size = value[0, 0].numel()
        found += [name] if size == 1 else [f"{name}[{k}]" for k in range(size)]
    return found


def _entries(draws: Draws) -> np.ndarray:
    """All entries of theta, (chain, draw, entries)."""
    return (
        torch.cat([x.reshape(*x.shape[:2], -1) for x in draws.theta_values.values()], 2)
        .double()
        .numpy()
    )


def _of_chains(posterior: Draws) -> _Moments:
    entries = _entries(posterior)
    errors = mcse_mean(entries), mcse_sd(entries)
    return _Moments(entries.mean((0, 1)), entries.std((0, 1)), *errors)


def _of_weights(posterior: Draws, target: LogPosterior) -> _Moments | None:
    """Moments of theta by weighted draws; None where the weights are not to be trusted."""
    count = _EVIDENCES // (states_of(posterior.density) * len(posterior.tasks))
    theta, log_weights, k = _weighed(
        target, posterior.fit.theta.flatten(0, 1).double(), min(_DRAWS, count)
    )
    if not k <= TRUSTED_K:
        return None
    fit = replace(posterior.fit, theta=theta[None], phi=None, states=None)
    x = _entries(Draws(fit, posterior.strategy, is_point=False, seed=0))[0]
    w = log_weights.softmax(0).numpy()[:, None]
    mean = (w * x).sum(0)
    square = (x - mean) ** 2
    sd = np.sqrt((w * square).sum(0))
    mean_error = np.sqrt((w**2 * square).sum(0))
    sd_error = np.sqrt((w**2 * (square - sd**2) ** 2).sum(0)) / (2 * sd)
    return _Moments(mean, sd, mean_error, sd_error)


def _weighed(target: LogPosterior, theta: Tensor, count: int) -> tuple[Tensor, Tensor, float]:
    """Draws of Student's t with the moments of the chains' draws, and then of its own draws'.

    Returns:
        theta (n, d_theta), smoothed log weights (n,), and their Pareto k.
    """
    generator = torch.Generator().manual_seed(0)
    weights = torch.full((len(theta),), 1 / len(theta), dtype=theta.dtype)
    proposals, drawn, log_p, at = [], list[Tensor](), list[Tensor](), theta
    for _ in range(_ROUNDS):
        proposals.append(SplitT.of_draws(at, weights))
        drawn.append(proposals[-1].draw(count, generator))
        log_p.append(target.values(drawn[-1]))
        at = torch.cat(drawn)
        log_q = torch.stack([q.log_prob(at) for q in proposals]).logsumexp(0)
        log_q = log_q - math.log(len(proposals))
        found, k = smoothed(without_nan(torch.cat(log_p) - log_q)[:, None])
        weights = found[:, 0].softmax(0)
    return at, found[:, 0], float(k[0])
