"""sinusoid: the data are the paper's, and MAML learns to adapt to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import sinusoid


def test_data_are_the_waves_of_the_truth() -> None:
    tasks, waves = sinusoid.tasks(50, 8, seed=3), sinusoid.truth(50, seed=3)
    expected = waves["amplitude"][:, None] * torch.sin(
        tasks.x["x"][..., 0].double() - waves["phase"][:, None]
    )
    assert torch.allclose(tasks.y.double(), expected, atol=1e-5)
    assert (waves["amplitude"] > 0.1).all() and (waves["amplitude"] < 5).all()
    assert (waves["phase"] > 0).all() and (waves["phase"] < np.pi).all()


def test_the_model_is_read_as_maml() -> None:
    read = bm.structure(sinusoid.model, sinusoid.tasks(4, 3))
    assert (read.theta, read.phi, read.data) == (("theta",), ("phi",), ("y",))
    assert read.nodes["theta"].distribution == "flat"


def test_one_step_on_the_log_likelihood_is_the_papers_step() -> None:
    """From theta by lr * n / 2 along minus the gradient of the mean squared error."""
    tasks = sinusoid.tasks(3, 10)
    post = bm.fit(
        sinusoid.model,
        tasks,
        **bm.MAML(1, 0.002, adam=bm.Adam(steps=1, compile=False)),
        progress=False,
    )
    theta = post.theta["theta"][0, 0]
    for i in range(3):
        w = theta.clone().requires_grad_()
        error = (sinusoid.NET(w, tasks.x["x"][i][None])[0, :, 0] - tasks.y[i]).square().mean()
        (slope,) = torch.autograd.grad(error, w)
        step = theta - 0.002 * 10 / 2 * slope
        assert torch.allclose(post.phi["phi"][0, 0, i].reshape(-1), step, atol=1e-6)


@pytest.mark.slow
def test_training_improves_what_five_steps_reach_on_new_tasks() -> None:
    support, query = sinusoid.tasks(200, 20).split(10)
    new, unseen = sinusoid.tasks(100, 20, seed=1).split(10)
    errors = []
    for steps in (1, 1000):
        pair = bm.MAML(5, 0.002, batch_size=25, adam=bm.Adam(lr=2e-3, steps=steps, compile=False))
        post = bm.fit(sinusoid.model, support, query=query, **pair, progress=False)
        adapted = post.adapt(new).predict(unseen).mean
        errors.append((adapted - unseen.y).square().mean())
    assert errors[1] < 0.7 * errors[0]
