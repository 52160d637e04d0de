"""Strategies that are wrong in a known way, for tests that have to find it, by fits made once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior
from bayesmeta.running.isolation import isolated
from bayesmeta.theta.base import Fit
from bayesmeta.training.fit_options import FitOptions

# Draws of the prior, which are independent.
_BLIND = 99


@dataclass(frozen=True)
class Kept(bm.Theta):
    """Fits of another strategy, by seed: what is made worse is so from the same ones."""

    of: bm.Theta
    fits: dict[int, Fit] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        return self.of.label

    def fit(self, density: Density, tasks: Tasks, phi: bm.Phi, options: FitOptions) -> Fit:
        if options.seed not in self.fits:
            self.fits[options.seed] = self.of.fit(density, tasks, phi, options)
        return self.fits[options.seed]


@dataclass(frozen=True)
class Worse(bm.Theta):
    """Draws of theta of another strategy: spread about their mean, and moved by so many sds.

    With `blind` data are ignored: draws are of the prior, of phi too where it is fitted with theta.
    """

    of: bm.Theta
    spread: float = 1.0
    shift: float = 0.0
    blind: bool = False

    def fit(self, density: Density, tasks: Tasks, phi: bm.Phi, options: FitOptions) -> Fit:
        found = self.of.fit(density, tasks, phi, options)
        if self.blind:
            return _prior(found, options.seed)
        mean, sd = found.theta.mean((0, 1)), found.theta.std((0, 1))
        theta: Tensor = mean + self.spread * (found.theta - mean) + self.shift * sd
        return replace(found, theta=theta)


def _prior(found: Fit, seed: int) -> Fit:
    with isolated(seed), torch.no_grad():
        drawn = [draw_prior(found.density, found.tasks) for _ in range(_BLIND)]
    theta, phi = (torch.stack(x)[None] for x in zip(*drawn, strict=True))
    phi = None if found.phi is None else phi
    # What told of the draws before, tells nothing of these.
    return replace(found, theta=theta, phi=phi, stats={}, log_weights=None, log_q=None)
