"""What theta without a task makes of it: by weights, by draws that are moved, or by another fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.evidence import evidence, some_evenly
from bayesmeta.draws.same_rows import same_rows
from bayesmeta.fit import fit
from bayesmeta.influence.moment_matching import matched
from bayesmeta.model.density import Density
from bayesmeta.phi import Phi
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.handlers import unweighted
from bayesmeta.task_level.importance import smoothed
from bayesmeta.theta import Theta
from bayesmeta.theta.convergence import coordinates
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.pilot import is_for_newton


@dataclass
class WithoutATask:
    """Of each task, (tasks,), what is found when it is left out; `match` and `refit` better it.

    Where the model weighs datapoints (`poutine.scale`), a task is taken out with its weights, as it
    was put in, and scored without, as all scores are: with p_w(D_i | theta) the weighted evidence,

        p(D_i | D_-i) = E[p(D_i | theta) / p_w(D_i | theta)] / E[1 / p_w(D_i | theta)]

    for theta ~ p_w(theta | D).

    Attributes:
        posterior, phi: of which tasks are left out, and how phi is integrated out.
        tasks: those that are.
        seen: which of them theta has learned from.
        theta: draws of it, (draws, d_theta), unconstrained.
        plain: the density in which each datapoint counts once.
        more: log E[p(D_i | theta) / p_w(D_i | theta)], 0 without weights.
        log_score: log p(D_i | D_-i).
        k: Pareto's, of the weights; NaN without any.
        shifts: how far the mean of theta moves, in its sds, (tasks, d_theta); NaN of tasks that
            theta has not seen.
        how: by what it was found, "weights", "moments" or "refit".
    """

    posterior: Posterior
    phi: Phi
    tasks: Tasks
    seen: Tensor
    theta: Tensor
    plain: Density
    more: Tensor
    log_score: Tensor
    k: Tensor
    shifts: Tensor
    how: list[str]

    @classmethod
    def of(
        cls, posterior: Posterior, phi: Phi, seen: Tensor, which: Tensor | None = None
    ) -> WithoutATask:
        """By weights of the draws as they are; those never seen by the mean over draws.

        Args:
            posterior, phi: as above.
            seen: which of the posterior's tasks theta has learned from.
            which: places of the tasks to look at, among the posterior's; None is all.
        """
        tasks, theta = posterior.tasks, some_evenly(posterior.fit.theta)
        if which is not None:
            tasks, seen = tasks.select(which), seen[which]
        density = posterior.draws.centred
        plain, log_w = _plain(density), evidence(density, phi, theta, tasks)
        log_p = log_w if plain is density else evidence(plain, phi, theta, tasks)
        weighted = (tasks.sizes.cpu() > 0) & (not posterior.is_point)
        score, more = (torch.logsumexp(x, 0) - np.log(len(x)) for x in (log_p, log_p - log_w))
        k = torch.full(score.shape, torch.nan, dtype=torch.float64)
        shifts = torch.full((len(tasks), theta.shape[1]), torch.nan, dtype=torch.float64)
        if (new := ~seen & weighted).any():
            k[new] = smoothed(log_p[:, new])[1]
        how = ["weights"] * len(tasks)
        found = cls(posterior, phi, tasks, seen, theta, plain, more, score, k, shifts, how)
        if seen.any():
            log_weights, k[seen] = smoothed(-log_w[:, seen])
            score[seen] = torch.logsumexp(log_weights + log_p[:, seen], 0).to(score)
            shifts[seen] = found._shift(log_weights.exp().mT.to(theta) @ theta)
        return found

    def match(self, i: int, trusted_k: float) -> None:
        """Move the draws to where the weights of a task ask for, if p(theta, D) is a function."""
        whole, alone = self._whole, self._alone(i).to(dtype=torch.float64)
        if whole is None:
            return
        density, at = self.posterior.draws.centred, self.theta.double()

        def without(theta: Tensor) -> Tensor:
            return whole.values(theta) - evidence(density, self.phi, theta, alone)[:, 0]

        found = matched(without, at, whole.values(at), trusted_k)
        if found.k < self.k[i]:
            # p(D) / p(D_-i). The mean of p(D_i | theta) would be one of its tail, far from D_-i.
            self.log_score[i] = self.more[i] - found.log_mean
            self.k[i], self.how[i] = found.k, "moments"
            self.shifts[i] = self._shift(found.log_weights.exp() @ found.at)

    def refit(self, i: int, theta: Theta) -> None:
        """Fit to the other tasks."""
        learned, alone = self._learned, self._alone(i)
        others = ~same_rows(learned, alone).any(1)
        other = fit(
            self.posterior.density.model,
            learned.select(others.nonzero()[:, 0]),
            theta=theta,
            phi=self.posterior.strategy,
            seed=self.posterior.seed + i,
            progress=False,
        )
        draws = some_evenly(other.fit.theta)
        log_p = evidence(self.plain, self.phi, draws, alone)[:, 0]
        self.log_score[i] = torch.logsumexp(log_p, 0) - np.log(len(log_p))
        self.how[i] = "refit"
        self.shifts[i] = self._shift(draws.mean(0))

    @property
    def most(self) -> tuple[list[float], list[str]]:
        """Of each task by how much, and which number of theta it moves most."""
        names, far, which = coordinates(self.posterior.density), [], []
        for row in self.shifts.abs():
            there = bool(len(row)) and not bool(row.isnan().any())
            far.append(float(row.max()) if there else float("nan"))
            which.append(names[int(row.argmax())] if there else "")
        return far, which

    def _shift(self, mean: Tensor) -> Tensor:
        draws = self.theta.double()
        return ((mean.double() - draws.mean(0)) / draws.std(0)).cpu()

    def _alone(self, i: int) -> Tasks:
        return self.tasks.select(torch.tensor([i]))

    @property
    def _learned(self) -> Tasks:
        learned = self.posterior.fit.learned_from
        assert learned is not None and learned.tasks is not None
        return learned.tasks

    @cached_property
    def _whole(self) -> LogPosterior | None:
        """p(theta, D) of all that theta has learned from, if it is a smooth function."""
        density, tasks = self.posterior.draws.centred, self._learned
        if not (self.phi.is_smooth and is_for_newton(density, tasks, self.phi)):
            return None
        return LogPosterior(density, self.phi, tasks, jacobian=True)


def _plain(density: Density) -> Density:
    """The density in which each datapoint counts once: the same where the model weighs none."""
    reading = density.reading
    if not reading.weighted:
        return density
    once = replace(reading, model=unweighted(reading.model), weighted=())
    return Density(once, density.noncentred)
