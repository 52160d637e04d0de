"""Draws of theta and phi from the prior: those of a posterior that has seen nothing."""

from __future__ import annotations

import torch

from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.at_draws import random_at_draws
from bayesmeta.draws.draws import Draws
from bayesmeta.engine.noise import on_device
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_states
from bayesmeta.phi.joint import Joint
from bayesmeta.running.isolation import isolated, undisturbed
from bayesmeta.theta.base import Fit


@undisturbed()
def prior_draws(density: Density, tasks: Tasks, count: int, seed: int) -> Draws:
    """One chain of draws from the prior of a density whose phi is centred."""
    tasks, nothing = tasks.to(tasks.device), torch.empty(1, count, 0)
    with isolated(seed), on_device(tasks.device):
        theta, phi, states = random_at_draws(
            lambda *_: draw_prior_states(density, tasks), nothing, nothing, tasks
        )
    known = states if density.reading.summed else None
    fit = Fit(density, tasks, theta, phi, known, is_prior=True)
    return Draws(fit, Joint(), is_point=False, seed=seed)
