"""A variational step on a minibatch costs the same for 1,000 tasks and for 100,000."""

from __future__ import annotations

import time

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means

STEPS = 300


def seconds_per_step(num_tasks):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(num_tasks, 10, generator=generator)
    tasks = bm.Tasks.from_arrays(y)

    def seconds(steps):
        adam = bm.Adam(steps=steps, patience=0, compile=False)
        theta = bm.Gaussian(batch_size=256, adam=adam, draws=2)
        began = time.perf_counter()
        bm.fit(normal_means.model, tasks, theta=theta, progress=False)
        return time.perf_counter() - began

    # The difference of two runs leaves out what is done once.
    return (seconds(STEPS + 50) - seconds(50)) / STEPS


@pytest.mark.slow
def test_time_per_step_does_not_grow_with_the_tasks():
    seconds_per_step(1000)
    few, many = seconds_per_step(1000), seconds_per_step(100_000)
    print(f"{few * 1e3:.2f} ms a step at 1,000 tasks, {many * 1e3:.2f} ms at 100,000")
    assert many < 1.5 * few
