"""One simulation: a study, its fit, and where the truth is among the draws."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.draws import Draws
from bayesmeta.draws.joined import joined, renamed
from bayesmeta.engine.mixing import ess_bulk
from bayesmeta.engine.noise import seeds
from bayesmeta.fit import fit_density
from bayesmeta.model.density import Density
from bayesmeta.phi.base import Phi
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.running.isolation import isolated
from bayesmeta.simulation.drawn import Drawn, draw_study
from bayesmeta.theta.base import Theta
from bayesmeta.training.fit_options import FitOptions
from bayesmeta.trust.quantities import (
    Numbers,
    Picked,
    log_likelihood,
    row_numbers,
    shared_numbers,
    task_numbers,
)

# Draws of a posterior that are looked at, of which a fit has several times as many.
MOST_DRAWS = 99
_CHANGES = DeprecationWarning, PendingDeprecationWarning, FutureWarning


class Compared(NamedTuple):
    """A quantity's truth, and draws of it.

    Attributes:
        place: of the truth among the draws, in 0..1: uniform where all is well.
        z: (posterior mean - truth) / posterior sd.
        truth, sd: the truth, and the posterior's sd.
    """

    place: float
    z: float
    truth: float
    sd: float


@dataclass(frozen=True)
class Outcome:
    """What one simulation told.

    Attributes:
        found: by quantity.
        draws: so many of the posterior were looked at.
        is_ok: whether the fit passed its own `diagnose`.
        failure: what was said where it raised; None where it did not.
        warning: the first that it gave.
    """

    found: Mapping[str, Compared] = field(default_factory=dict)
    draws: int = 0
    is_ok: bool = False
    failure: str | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Setting:
    """What all simulations have in common.

    Attributes:
        density: what studies are drawn from.
        design: whose x, sizes and mask they have.
        fitted: what is fitted; it reads the tasks of `observed` beside those of the study.
        theta, phi: the pair of strategies.
        seed: of all simulations.
        simulations: how many there will be, by which compiling pays.
        posterior, observed: whose theta is the truth, and the tasks that are fitted with those that
            are simulated; None draws it from the prior.
    """

    density: Density
    design: Tasks
    fitted: Density
    theta: Theta
    phi: Phi
    seed: int
    simulations: int
    posterior: Posterior | None = None
    observed: Tasks | None = None

    def run(self, k: int) -> Outcome:
        """Simulation k, which depends on the seed and k alone; one that raises is told of."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                found = self._run(k)
            except Exception as error:  # whatever it is, it is counted and shown
                found = Outcome(failure=f"{type(error).__name__}: {error}")
        # What libraries are about to change says nothing of a fit.
        plain = [w for w in caught if not issubclass(w.category, _CHANGES)]
        return replace(found, warning=str(plain[0].message) if plain else None)

    def _run(self, k: int) -> Outcome:
        draw_seed, fit_seed, pick_seed = seeds(self.seed, 3, repeat=k)
        generator = torch.Generator().manual_seed(pick_seed)
        with isolated(draw_seed), torch.no_grad():
            study = draw_study(self.density, self.design, self._theta(generator))
            beside = draw_study(self.density, self.design, study.theta)
            unseen = beside.unseen()
        tasks = study.tasks if self.observed is None else joined(self.observed, study.tasks)
        options = FitOptions(fit_seed, progress=False, repeats=self.simulations)
        began = time.perf_counter()
        post = fit_density(self.fitted, tasks, self.theta, self.phi, options, began)
        some, count = _thinned(post)
        pair = Posterior(study.truth(fit_seed)), some
        truths, draws = Numbers(), Numbers()
        for numbers, of in zip((truths, draws), pair, strict=True):
            numbers |= shared_numbers(of)
        self._add_tasks(study, pair, truths, draws, generator)
        if self.density.structure.phi:
            self._add_new(beside, unseen, some, truths, draws, generator)
        compared = {
            n: _compared(draws[n], truths[n], generator, is_point=post.is_point) for n in truths
        }
        return Outcome(compared, count, post.diagnose().ok)

    def _theta(self, generator: torch.Generator) -> Tensor | None:
        """The truth that a posterior is drawn for; None where it is of the prior."""
        if self.posterior is None:
            return None
        flat = {n: v.flatten(0, 1) for n, v in self.posterior.draws.theta_values.items()}
        count = self.posterior.fit.theta.shape[:2].numel()
        chosen = int(torch.randint(count, (), generator=generator))
        return self.density.theta_at({n: v[chosen] for n, v in flat.items()}, self.design)

    def _add_tasks(
        self,
        study: Drawn,
        pair: tuple[Posterior, Posterior],
        truths: Numbers,
        draws: Numbers,
        generator: torch.Generator,
    ) -> None:
        """Phi of one of the tasks, and the log likelihood of all of them."""
        picked = Picked.among(study.tasks, generator)
        before = 0 if self.observed is None else len(self.observed)
        truths |= task_numbers(pair[0], picked) | log_likelihood(pair[0], study.tasks)
        draws |= task_numbers(pair[1], replace(picked, task=before + picked.task))
        draws |= log_likelihood(pair[1], study.tasks)

    def _add_new(
        self,
        beside: Drawn,
        unseen: Mapping[str, Tensor],
        post: Posterior,
        truths: Numbers,
        draws: Numbers,
        generator: torch.Generator,
    ) -> None:
        """Phi and y of a task never seen, of which other outcomes are given."""
        picked = Picked.among(beside.tasks, generator)
        alone = replace(picked, task=0)
        new = replace(renamed(beside.tasks.select([picked.task]), "new"), names=("new task",))
        adapted = post.adapt(new)
        y = {n: adapted.predict(outcome=n).draws.flatten(0, 1) for n in unseen}
        truth = Posterior(beside.truth(0))
        truths |= task_numbers(truth, picked, "new ")
        truths |= row_numbers({n: v[None] for n, v in unseen.items()}, picked)
        draws |= task_numbers(adapted, alone, "new ") | row_numbers(y, alone)


def _thinned(posterior: Posterior) -> tuple[Posterior, int]:
    """As many draws as are about independent, 99 at most, evenly spaced (Talts et al. 2018)."""
    draws, fit = posterior.draws, posterior.fit
    chains, length = fit.theta.shape[:2]
    worth = _effective(fit.theta if fit.phi is None else torch.cat([fit.theta, _flat(fit.phi)], -1))
    each = max(1, int(min(MOST_DRAWS, worth)) // chains)
    if posterior.is_point or each >= length:
        return posterior, chains * length
    at = torch.linspace(0, length - 1, each).round().long()

    def some(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[:, at]

    less = replace(
        fit,
        theta=fit.theta[:, at],
        phi=some(fit.phi),
        states=some(fit.states),
        log_weights=some(fit.log_weights),
        log_q=some(fit.log_q),
        stats={},
        told={n: x[:, at] for n, x in fit.told.items()},
    )
    kept = Draws(less, draws.strategy, draws.is_point, draws.seed)
    return Posterior(kept), chains * each


def _effective(draws: Tensor) -> float:
    """How many independent draws (chain, draw, numbers) are worth, by the worst of the numbers."""
    flat = draws.double().numpy()
    varies = ~(flat == flat[:1, :1]).all((0, 1))
    if not varies.any():
        return float("inf")
    with np.errstate(invalid="ignore"):
        found = float(np.nanmin(ess_bulk(flat[..., varies])))
    return found if isfinite(found) else float(flat.shape[0] * flat.shape[1])


def _flat(phi: Tensor) -> Tensor:
    return phi.flatten(2)


def _compared(
    draws: Tensor, truth: Tensor, generator: torch.Generator, *, is_point: bool
) -> Compared:
    """Where a truth (1,) is among draws, in 0..1 with ties by chance, and the z of their mean.

    A point is draws without end that are all the same: what is below it is below all.
    """
    at, draws = float(truth[0]), draws.double()
    if not isfinite(at):
        return Compared(*4 * (float("nan"),))
    # Of equal numbers a standard deviation is 0, which rounding may miss.
    is_one = bool((draws == draws[0]).all())
    if is_point and is_one:
        draws = draws[:1].expand(MOST_DRAWS)
    below, equal = int((draws < at).sum()), int((draws == at).sum())
    chance = float(torch.rand((), generator=generator, dtype=torch.float64))
    place = (below + chance * (1 + equal)) / (1 + len(draws))
    if is_one:
        off = float(draws[0]) - at
        return Compared(place, 0.0 if off == 0 else float(np.copysign(np.inf, off)), at, 0.0)
    off, sd = float(draws.mean()) - at, float(draws.std(correction=0))
    return Compared(place, off / sd, at, sd)
