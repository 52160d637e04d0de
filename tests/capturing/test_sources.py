"""The source of graphs goes with them: memory stays flat over many fits."""

from __future__ import annotations

import gc
import linecache
import subprocess
import sys

import pytest
import torch
from torch.fx import graph_module

import bayesmeta as bm
from bayesmeta.capturing import sources
from bayesmeta.capturing.capture import capture, fold_constants
from bayesmeta.models import normal_means

TASKS = normal_means.tasks(num_tasks=5, num_data=4)
FEW = bm.Adam(steps=3, compile=False)
PAIRS = [
    (bm.Point(adam=FEW), bm.Exact(draws=10)),
    (bm.Gaussian(adam=FEW, draws=20, noncentred=()), bm.Joint()),
    (bm.NUTS(chains=1, tune=10, draws=10, noncentred=(), compile=False), bm.Joint()),
]


def kept() -> int:
    """Sources that torch holds."""
    gc.collect()
    named = sum(name.startswith("<eval_with_key>") for name in linecache.cache)
    return len(graph_module._loader.eval_cache) + named


def grown(theta, phi) -> int:
    """By how many sources a fit leaves more than there were."""
    before = kept()
    post = bm.fit(normal_means.model, TASKS, theta=theta, phi=phi, progress=False)
    post.adapt(TASKS[:2]).predict()
    del post
    return kept() - before


@pytest.mark.parametrize(("theta", "phi"), PAIRS, ids=lambda part: type(part).__name__)
def test_a_fit_leaves_no_source_behind(theta, phi, monkeypatch):
    assert grown(theta, phi) == 0
    # Negative control: torch alone keeps each, in two places.
    monkeypatch.setattr(sources, "_forget", lambda name: None)
    assert grown(theta, phi) > 5


def test_a_graph_that_is_in_use_has_its_source():
    def cube(x):
        return (x * x * torch.ones(2).sum(),)

    graph = capture(cube, [torch.ones(2)])
    for change in (lambda graph: None, fold_constants):
        change(graph)
        graph(torch.ones(2))
        name = type(graph).forward.__code__.co_filename
        assert "def forward" in "".join(linecache.getlines(name))
        assert graph_module._loader.eval_cache[name] == graph.code
    del graph
    gc.collect()
    assert name not in linecache.cache and name not in graph_module._loader.eval_cache


MEMORY = """
import gc, sys, psutil
import bayesmeta as bm
from bayesmeta.capturing import sources
from bayesmeta.models import normal_means
from tests.capturing.test_sources import PAIRS, TASKS

if "kept" in sys.argv:
    sources._forget = lambda name: None
theta, phi = PAIRS[1]
for k in range(61):
    if k % 10 == 0:
        gc.collect()
    if k == 20:
        before = psutil.Process().memory_info().rss
    post = bm.fit(normal_means.model, TASKS, theta=theta, phi=phi, seed=k, progress=False)
    post.adapt(TASKS[:2]).predict()
print((psutil.Process().memory_info().rss - before) / 2**20)
"""


def growth(*arguments: str) -> float:
    """MiB from the 20th fit to the 60th, in a process of its own."""
    command = [sys.executable, "-c", MEMORY, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_the_memory_of_many_fits_is_flat():
    # Measured: 0.0, and 4.2 where sources stay.
    assert growth() < 1.5 < growth("kept")
