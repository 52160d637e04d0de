"""ReptileSteps: the outer gradient is the way that the inner steps went."""

from __future__ import annotations

import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import normal_means

TASKS = normal_means.tasks(num_tasks=6, num_data=4, seed=2)


def _density() -> Density:
    return Density(read(normal_means.model, TASKS))


def test_outer_gradient_is_the_way_that_the_steps_went() -> None:
    """phi starts at mu, so that d/d mu is the sum over tasks of phi^steps - mu."""
    theta = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    reptile, steps = bm.ReptileSteps(3, 0.1), bm.GradientSteps(3, 0.1)
    (found,) = torch.autograd.grad(reptile.log_evidence(_density(), theta, TASKS).sum(), theta)
    reached = steps.infer(_density(), theta.detach()[None], TASKS, torch.Generator(), is_point=True)
    assert torch.allclose(found, (reached - theta).sum(), atol=1e-10)
    maml = steps.log_evidence(_density(), theta, TASKS).sum()
    assert not torch.allclose(found, torch.autograd.grad(maml, theta)[0], rtol=1e-2)


def test_the_query_joins_the_support() -> None:
    support, query = normal_means.tasks(num_tasks=6, num_data=4, seed=2, ragged=False).split(2)
    whole = normal_means.tasks(num_tasks=6, num_data=4, seed=2, ragged=False)
    theta = torch.tensor([0.7], dtype=torch.float64)
    reptile = bm.ReptileSteps(2, 0.1)
    both = reptile.log_evidence(_density(), theta, support.with_query(query))
    assert torch.allclose(both, reptile.log_evidence(_density(), theta, whole), atol=1e-12)


def test_it_moves_theta_to_the_middle_of_the_tasks() -> None:
    point = bm.Point(adam=bm.Adam(lr=0.1, steps=400, compile=False))
    post = bm.fit(
        normal_means.model, TASKS, theta=point, phi=bm.ReptileSteps(3, 0.1), progress=False
    )
    assert (post.phi["phi"].mean() - post.theta["mu"]).abs() < 0.3
