"""Chunks of tasks: their sizes, and the memory that a graph is reckoned to take."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import bayesmeta as bm
from bayesmeta.capturing import chunking
from bayesmeta.capturing.capture import capture
from bayesmeta.models import few_shot_classifier, omniglot, sinusoid
from bayesmeta.training.stepper import Stepper


@given(st.integers(1, 300), st.integers(1, 400))
def test_sizes_add_up_are_small_enough_and_differ_by_one(count, at_most):
    sizes = chunking.chunk_sizes(count, at_most)
    assert sum(sizes) == count and max(sizes) <= at_most
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == -(-count // at_most)


def test_the_peak_counts_what_is_alive_and_no_views():
    def function(x):
        a = x + 1  # x and a: 2
        b = a.reshape(-1) * 2  # x, a by its view, b: 3
        c = b.exp()  # a is gone: x, b and c
        return (c.sum(),)

    graph = capture(function, [torch.zeros(10, 100)])
    assert chunking.peak_bytes(graph) == pytest.approx(3 * 4000, abs=100)


def test_the_peak_is_that_of_a_backward_pass():
    def function(x):
        kept = [x]
        for _ in range(10):
            kept.append(kept[-1].sin())
        return (torch.stack(kept).sum(),)

    graph = capture(function, [torch.zeros(1000)])
    assert chunking.peak_bytes(graph) >= 2 * 11 * 4000


def sizes_chosen(monkeypatch, fit):
    """The chunk sizes of the steppers that a fit makes."""
    made = []
    init = Stepper.__init__

    def spy(self, *args):
        init(self, *args)
        made.append([stop - start for start, stop in self.chunks])

    monkeypatch.setattr(Stepper, "__init__", spy)
    fit()
    return made


def waves():
    tasks, query = sinusoid.tasks(100, 10).split(5)
    adam = bm.Adam(steps=2, compile=False)
    bm.fit(sinusoid.model, tasks, query=query, progress=False, **bm.MAML(2, adam=adam))


def test_little_memory_makes_small_chunks(monkeypatch):
    assert sizes_chosen(monkeypatch, waves) == [[100]]
    monkeypatch.setattr(chunking, "free_bytes", lambda device: 2_000_000)
    ((first, *rest),) = sizes_chosen(monkeypatch, waves)
    assert 1 < first < 50 and sum(rest) + first == 100


def test_convolutions_by_a_tasks_own_weights_go_task_by_task(monkeypatch):
    def fit(model, pair):
        episodes = omniglot.classes(omniglot.Split.TRAIN).episodes(4, ways=5, shots=1, queries=1)
        bm.fit(model, episodes, progress=False, **pair)

    adam = bm.Adam(steps=1, compile=False)
    own = few_shot_classifier.classifier(5)
    pair = bm.MAML(1, adam=adam)
    assert sizes_chosen(monkeypatch, lambda: fit(own, pair)) == [[1] * 4]
