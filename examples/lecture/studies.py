"""Many studies of several tasks in one fit: simulated, and as models of their theta and tau.

A study has a theta and I tasks around it. To see how often an interval is right one needs thousands
of studies. The library fits them together in one of two ways: with the tasks of all studies as its
tasks, and theta one vector; or with a study as its task, and all that is not known of it as phi.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.models.lecture import NOISE, PHI_SD, THETA_SD

SHOTS = 5


class Truth(NamedTuple):
    """What the studies were drawn from: theta and tau (studies,), and y (studies, I, SHOTS)."""

    theta: Tensor
    tau: Tensor
    y: Tensor


def simulated(repeats: int, count: int, seed: int, tau_drawn: bool = False) -> Truth:
    """Studies of `count` tasks; tau is PHI_SD, or half-normal with that scale."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=random)

    theta = THETA_SD * normal(repeats)
    tau = PHI_SD * (normal(repeats).abs() if tau_drawn else torch.ones_like(theta))
    phi = theta[:, None] + tau[:, None] * normal(repeats, count)
    return Truth(theta, tau, phi[..., None] + NOISE * normal(repeats, count, SHOTS))


def studies(truth: Truth) -> bm.Tasks:
    """The tasks of all studies, each with the number of its study."""
    repeats, count, _ = truth.y.shape
    study = torch.arange(repeats).repeat_interleave(count)[:, None]
    return bm.Tasks.from_arrays(truth.y.flatten(0, 1), {"study": study})


def copies(repeats: int, count: int) -> bm.Tasks:
    """`count` new tasks a study, without data, in the order of the studies."""
    study = torch.arange(repeats).repeat_interleave(count)[:, None]
    nothing = torch.zeros(study.shape, dtype=torch.bool)
    return bm.Tasks.from_arrays(nothing.double(), {"study": study}, mask=nothing)


def plug_in(repeats: int, tau_has_prior: bool = False) -> Callable[[bm.Tasks], None]:
    """A theta and a tau for each study, with flat priors or with those they were drawn from.

    Without a prior the likelihood is often highest at tau = 0, where phi has no density: tau stops
    at a thousandth.
    """

    def flat(tasks: bm.Tasks) -> tuple[Tensor, Tensor]:
        theta = pyro.param("theta", torch.zeros(repeats, dtype=tasks.dtype))
        tau = pyro.param("tau", torch.ones(repeats, dtype=tasks.dtype))
        return theta, (tau.square() + 1e-6).sqrt()

    def drawn(tasks: bm.Tasks) -> tuple[Tensor, Tensor]:
        ones = torch.ones(repeats, dtype=tasks.dtype)
        theta = pyro.sample("theta", dist.Normal(0.0, THETA_SD * ones).to_event(1))
        return theta, pyro.sample("tau", dist.HalfNormal(PHI_SD * ones).to_event(1))

    def model(tasks: bm.Tasks) -> None:
        theta, tau = (drawn if tau_has_prior else flat)(tasks)
        study = tasks.x["study"]
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta[study], tau[study]))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, NOISE), obs=tasks.y)

    return model


def with_new_task(truth: Truth, count: int) -> bm.Tasks:
    """A study as one task of the library: x["task"] (studies, I * SHOTS, I) says whose y it is."""
    own = torch.eye(count, dtype=torch.float64).repeat_interleave(SHOTS, 0)
    y = truth.y.flatten(1)
    return bm.Tasks.from_arrays(y, {"task": own.expand(len(y), -1, -1)})


def tau_known(tasks: bm.Tasks) -> None:
    """Theta, phi of the tasks seen and phi of a new one, all of which are phi to the library."""
    own = tasks.x["task"]
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        theta = pyro.sample("theta", dist.Normal(0.0, THETA_SD))
        around = theta[..., None].expand(*theta.shape, own.shape[-1])
        phi = pyro.sample("phi", dist.Normal(around, PHI_SD).to_event(1))
        pyro.sample("new", dist.Normal(theta, PHI_SD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal((own * phi).sum(-1), NOISE), obs=tasks.y)
