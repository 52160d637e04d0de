"""A variational step on a minibatch costs the same for 1,000 tasks and for 100,000."""

from __future__ import annotations

import resource
import time

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means

STEPS = 2000


def tasks_of(num_tasks):
    generator = torch.Generator().manual_seed(0)
    return bm.Tasks.from_arrays(torch.randn(num_tasks, 10, generator=generator))


def seconds(tasks, steps):
    adam = bm.Adam(steps=steps, patience=0, compile=False)
    theta = bm.Gaussian(batch_size=256, adam=adam, draws=2)
    began = time.perf_counter()
    bm.fit(normal_means.model, tasks, theta=theta, progress=False)
    return time.perf_counter() - began


def seconds_per_step(num_tasks):
    """What 2,000 more steps take, the least of three runs: what is done once drops out."""
    tasks = tasks_of(num_tasks)
    short = min(seconds(tasks, 50) for _ in range(3))
    return (min(seconds(tasks, 50 + STEPS) for _ in range(3)) - short) / STEPS


@pytest.mark.slow
def test_time_per_step_does_not_grow_with_the_tasks():
    few, many = seconds_per_step(1000), seconds_per_step(100_000)
    print(f"{few * 1e3:.2f} ms a step at 1,000 tasks, {many * 1e3:.2f} ms at 100,000")
    assert many < 1.5 * few


@pytest.mark.slow
def test_memory_does_not_grow_with_the_steps():
    tasks = tasks_of(100_000)
    seconds(tasks, 100)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds(tasks, 2000)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"peak memory grew by {grown:.0f} MiB in 2,000 steps")
    assert grown < 50
