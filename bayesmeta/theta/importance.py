"""Importance: draws of theta by weights, from a proposal at the mode of p(theta | D)."""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from bayesmeta.data.arguments import check_wholes
from bayesmeta.data.tasks import Tasks
from bayesmeta.engine.native import why_unavailable
from bayesmeta.engine.newton import Minimum
from bayesmeta.engine.noise import seeds
from bayesmeta.engine.split_t import SplitT
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior
from bayesmeta.phi.base import Phi
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.importance import TRUSTED_K, smoothed, systematic, without_nan
from bayesmeta.theta.base import Fit, Theta
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.pilot import Pilot, is_for_newton
from bayesmeta.theta.units import tangent
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.training.loop import TrainingError

# In posterior sds: what is farther from its mode is no mode.
_FAR = 0.1
# The share of the draws that the effective size is to reach.
_ENOUGH = 0.25
_AT_ONCE = 500
# Draws at which a density on few datapoints is held against that on all.
_TRIED = 8
# What a compilation costs.
_COMPILE_SECONDS = 20.0
# Searches beside that from the middle of the prior; modes that are so many sds apart are two.
_STARTS, _APART, _MOST_MODES = 3, 0.5, 8


@dataclass(frozen=True)
class Importance(Theta):
    """p(theta | D) by importance sampling, phi integrated out: exact up to Monte Carlo error.

        w_s = p(theta_s) prod_i p(D_i | theta_s) / q(theta_s),   theta_s ~ q

    q is Student's t at the mode, which Newton's method finds, with its curvature and a scale of its
    own on each side of each axis (Geweke 1989); it is a mixture where searches from draws of the
    prior end at several modes, and misses those at which none ends. Weights are Pareto-smoothed
    (Vehtari et al. 2024). Where they are not to be trusted, or few draws count, q is fitted to the
    weighted draws, and all draws are weighed by the mixture of the q that they are from (Cornuet et
    al. 2012), for some rounds. The posterior holds draws that were picked by their weights, in
    order: one of large weight is there several times in a row, and effective sizes by ArviZ say
    what they are worth.

    It takes seconds where theta is a few smooth numbers. `diagnose` has Pareto k and the effective
    size; where k is above 0.7 theta=bm.NUTS() is the one to ask.

    Attributes:
        draws: how many are proposed in each round, and how many are kept.
        rounds: at most, the first included.
    """

    draws: int = 4000
    rounds: int = 5

    def __post_init__(self) -> None:
        check_wholes(self, "draws", "rounds")
        if self.draws < 100:
            raise ValueError(
                f"Importance got draws={self.draws}; give at least 100, as by fewer weights it "
                "cannot be told whether they are to be trusted"
            )

    def fit(self, density: Density, tasks: Tasks, phi: Phi, options: FitOptions) -> Fit:
        """Draws of theta, as one chain.

        Raises:
            ValueError: for a phi whose log evidence is no smooth function of theta.
            TrainingError: where the search for the mode ends at none.
        """
        tasks = tasks.to(dtype=torch.float64)
        _check(density, tasks, phi)
        target = LogPosterior(density, phi, tasks, jacobian=True)
        start_seed, draw_seed, pick_seed = seeds(options.seed, 3)
        weighed = self._weighed(target, start_seed, draw_seed, progress=options.progress)
        theta = weighed.theta[systematic(weighed.weights, self.draws, pick_seed)]
        if not all(target.holds_at(at) for at in theta[:: max(1, len(theta) // _TRIED)]):
            target.take_all()
            weighed = self._weighed(target, start_seed, draw_seed, progress=options.progress)
            theta = weighed.theta[systematic(weighed.weights, self.draws, pick_seed)]
        note = (
            f"Importance: {len(weighed.theta):,} draws of theta in {weighed.rounds} round(s), "
            f"Pareto k {weighed.k:.2f}, effective size {weighed.effective:,.0f}"
        )
        return Fit(
            density,
            tasks,
            theta[None],
            phi=None,
            notes=(note,),
            doubts=weighed.doubts(),
            pareto_k=weighed.k,
        )

    def _weighed(
        self, target: LogPosterior, start_seed: int, draw_seed: int, *, progress: bool
    ) -> _Weighed:
        """Draws around all modes that are found."""
        found = _modes(target, start_seed)
        if not found:
            raise TrainingError(
                "theta=bm.Importance() looks for the mode of p(theta | D), unconstrained, and "
                "found none: the search ended where the density still rises, or is flat; give "
                "theta priors that end what the data leave open, or sample with theta=bm.NUTS()"
            )
        best = min(found, key=lambda m: float(m.value))
        line: AbstractContextManager[None] = nullcontext()
        if target.searches:
            mode = Pilot(best.at, best.hessian)
            searched = target.phi.searched(target.density, target.tasks)
            line = target.along(tangent(*searched, mode))
        with line:
            proposals = [SplitT.at_mode(target.values, m.at, -m.value, m.hessian) for m in found]
            self._compile(target, proposals[0])
            return self._rounds(target, proposals, draw_seed, progress=progress)

    def _compile(self, target: LogPosterior, proposal: SplitT) -> None:
        """Compile the density where that is quicker than what it saves."""
        if why_unavailable() is not None:
            return
        tried = proposal.draw(_TRIED, torch.Generator().manual_seed(0))
        began = time.perf_counter()
        target.values(tried)
        if (time.perf_counter() - began) / _TRIED * self.draws > _COMPILE_SECONDS:
            # A compiler may fail in any way; the draws are then weighed more slowly.
            with suppress(Exception):
                target.compile()

    def _rounds(
        self, target: LogPosterior, first: list[SplitT], seed: int, *, progress: bool
    ) -> _Weighed:
        """Draws from each mode's proposal, and then from what fits the draws so far."""
        generator = torch.Generator().manual_seed(seed)
        proposals = [(q, -(-self.draws // len(first))) for q in first]
        theta, log_p = [], []
        with tqdm(desc="importance", unit=" draws", disable=not progress) as bar:
            for taken in range(self.rounds):
                for q, count in proposals if not taken else proposals[-1:]:
                    theta.append(q.draw(count, generator))
                    for part in theta[-1].split(_AT_ONCE):
                        log_p.append(target.values(part))
                        bar.update(len(part))
                weighed = _weigh(torch.cat(theta), torch.cat(log_p), proposals)
                bar.set_postfix(k=f"{weighed.k:.2f}", effective=f"{weighed.effective:.0f}")
                if weighed.k <= TRUSTED_K and weighed.effective >= _ENOUGH * self.draws:
                    break
                proposals.append((SplitT.of_draws(weighed.theta, weighed.weights), self.draws))
        return weighed._replace(rounds=taken + 1)


def _modes(target: LogPosterior, seed: int) -> list[Minimum]:
    """The modes that searches from the middle of the prior, and from some draws of it, end at."""
    found: list[Minimum] = []
    with isolated(seed), torch.no_grad():
        starts = [draw_prior(target.density, target.tasks)[0] for _ in range(_STARTS)]
    for start in (None, *starts):
        mode = target.maximum(start=start)
        is_new = all(_apart(mode, other) > _APART for other in found)
        if mode.distance < _FAR and is_new and len(found) < _MOST_MODES:
            found.append(mode)
    return found


def _apart(one: Minimum, other: Minimum) -> float:
    """How far a mode is from another, in its units."""
    way = one.at - other.at
    return float((way @ other.hessian @ way).clamp(min=0).sqrt())


class _Weighed(NamedTuple):
    """Draws (n, d_theta) with weights (n,) that sum to one, and the Pareto k of these."""

    theta: Tensor
    weights: Tensor
    k: float
    rounds: int

    @property
    def effective(self) -> float:
        """1 / sum w^2 (Kong 1992)."""
        return float(1 / self.weights.square().sum())

    def doubts(self) -> tuple[str, ...]:
        if not self.k <= TRUSTED_K:
            return (
                f"Pareto k of theta is {self.k:.2f} (should be at most {TRUSTED_K}): the weights "
                "rest on a few draws, so that means and standard deviations may be off; sample "
                "with theta=bm.NUTS()",
            )
        if self.effective < 100:
            return (
                f"the draws of theta are worth {self.effective:.0f} independent ones (should be "
                "at least 100); take more draws, or sample with theta=bm.NUTS()",
            )
        return ()


def _check(density: Density, tasks: Tasks, phi: Phi) -> None:
    why = ""
    if phi.is_joint or not (phi.has_evidence and phi.is_smooth):
        why = "it needs p(D_i | theta) with phi integrated out; take phi=bm.Exact() or bm.Laplace()"
    elif not is_for_newton(density, tasks, phi):
        why = (
            f"it needs a theta of 1 to 256 numbers (here {density.d_theta}) and a phi of few; take "
            "theta=bm.NUTS()"
        )
    if why:
        raise ValueError(f"theta=bm.Importance() was given with phi={phi!r}, but {why}")


def _weigh(theta: Tensor, log_p: Tensor, proposals: list[tuple[SplitT, int]]) -> _Weighed:
    """By the mixture of all proposals, with how many are drawn from each."""
    log_q = torch.stack(
        [q.log_prob(theta) + math.log(count / len(theta)) for q, count in proposals]
    ).logsumexp(0)
    log_weights, k = smoothed(without_nan(log_p - log_q)[:, None])
    return _Weighed(theta, log_weights[:, 0].softmax(0), float(k[0]), rounds=0)
