"""Strategies that are wrong in a known way, for tests that have to find it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.theta.base import Fit
from bayesmeta.training.fit_options import FitOptions


@dataclass(frozen=True)
class Worse(bm.Theta):
    """Draws of theta of another strategy: spread about their mean, and moved by so many sds.

    With `blind` the data of tasks are not looked at.
    """

    of: bm.Theta
    spread: float = 1.0
    shift: float = 0.0
    blind: bool = False

    def fit(self, density: Density, tasks: bm.Tasks, phi: bm.Phi, options: FitOptions) -> Fit:
        given = replace(tasks, mask=torch.zeros_like(tasks.mask), ragged=True)
        found = self.of.fit(density, given if self.blind else tasks, phi, options)
        mean, sd = found.theta.mean((0, 1)), found.theta.std((0, 1))
        theta: Tensor = mean + self.spread * (found.theta - mean) + self.shift * sd
        return replace(found, theta=theta, tasks=tasks)
