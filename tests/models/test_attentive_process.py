"""attentive_process: x attends to the slots, and an amortised network fills them."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import attentive_process, neural_process, sinusoid


def test_the_model_is_read_and_adapts() -> None:
    functions = attentive_process.tasks(20, shots=6, queries=5)
    model = attentive_process.attentive_process(slots=4, slot=3, width=8, layers=1)
    read = bm.structure(model, functions)
    assert (read.theta, read.phi, read.data) == (("theta", "units"), ("z",), ("y",))
    pair = bm.AttentiveNeuralProcess(slots=4, slot=3, adam=bm.Adam(steps=3, compile=False))
    post = bm.fit(model, functions, **pair, progress=False)
    assert post.phi["z"].shape == (1, 1, 20, 12)
    # What a function's own points say reaches its predictions, and no other's.
    one = functions[:2]
    y = one.y.clone()
    y[0] += 1.0
    moved = bm.Tasks.from_arrays(y, one.x, one.mask, one.names)
    before, after = (post.adapt(t).predict(one.query).mean for t in (one, moved))
    assert not torch.allclose(before[0], after[0]) and torch.allclose(before[1], after[1])


@pytest.mark.slow
def test_sinusoids_by_a_neural_process() -> None:
    """Ten points of a wave are enough for its other points, with bands that cover what they say.

    About five minutes of training; a hundred steps are the negative control.
    """
    support, query = sinusoid.tasks(60_000, 30).split(10)
    new, unseen = sinusoid.tasks(1000, 110, seed=1).split(10)
    model = neural_process.neural_process(latent=64, hidden=128)
    encoder = bm.DeepSet(128, width=128)
    phi = bm.Amortised(encoder, bm.Delta(), bm.Predictive(1), draws=1, width=128)
    errors = []
    for steps in (100, 20_000):
        adam = bm.Adam(lr=2e-3, steps=steps, patience=0, compile=False)
        theta = bm.Point(batch_size=64, adam=adam)
        post = bm.fit(model, support, query=query, theta=theta, phi=phi, progress=False)
        found = post.adapt(new).predict(unseen)
        errors.append((found.mean - unseen.y).square().mean())
    assert errors[1] < 0.005 < 0.05 < errors[0]
    covered = ((found.mean - unseen.y).abs() < 1.645 * found.sd).double().mean()
    assert 0.88 < covered < 0.92
