"""The prior as a posterior that has seen nothing."""

from __future__ import annotations

import torch

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.density import Density
from bayesmeta.model.handlers import Model, isolated
from bayesmeta.model.structure import structure
from bayesmeta.phi.joint import Joint
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.posterior.predict import random_at_draws
from bayesmeta.theta.base import Fit


def prior(model: Model, tasks: Tasks, *, draws: int = 500, seed: int = 0) -> Posterior:
    """Draws of theta and phi from the prior, as a posterior that has seen nothing.

    Its `predict` is the prior predictive distribution of the tasks' inputs.
    """
    density = Density(model, structure(model, tasks), tasks)
    nothing = torch.empty(1, draws, 0)
    with isolated(seed):
        theta, phi = random_at_draws(lambda *_: density.draw_prior(tasks), nothing, nothing, tasks)
    return Posterior(Fit(density, tasks, theta, phi), Joint(), is_point=False, seed=seed)
