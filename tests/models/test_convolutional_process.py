"""convolutional_process: what is read between nodes, and images completed by their neighbours."""

from __future__ import annotations

import math

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import convolutional_process
from bayesmeta.models.neural_process import LEAST_SD
from bayesmeta.nets.perceptron import perceptron

SIDE = 8
AXIS = torch.linspace(-1.0, 1.0, SIDE)
PLACES = torch.cartesian_prod(AXIS, AXIS)


@pytest.mark.parametrize("inputs", [1, 2])
def test_the_density_is_that_of_maps_read_linearly(inputs: int) -> None:
    """Against interpolation by hand, at places between the nodes."""
    model = convolutional_process.convolutional_process(inputs, SIDE, 2, 1.0, hidden=4)
    generator = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(3, 5, inputs, generator=generator) - 1
    y = torch.randn(3, 5, generator=generator)
    post = bm.prior(model, bm.Tasks.from_arrays(y, {"x": x}), draws=1)
    z = post.phi["z"][0, 0].view(3, 2, *[SIDE] * inputs)
    place = (x + 1) / 2 * (SIDE - 1)
    low = place.floor().long().clamp(max=SIDE - 2)
    share = place - low
    decode = perceptron(2, 4, 4, 2)
    theta = post.theta["theta"][0, 0]
    for i in range(3):
        read = []
        for j in range(5):
            a, wa = low[i, j, 0], share[i, j, 0]
            rows = (1 - wa) * z[i, :, a] + wa * z[i, :, a + 1]
            if inputs == 2:
                b, wb = low[i, j, 1], share[i, j, 1]
                rows = (1 - wb) * rows[:, b] + wb * rows[:, b + 1]
            read.append(rows)
        mean, spread = decode(theta, torch.stack(read)[None])[0].unbind(-1)
        sd = LEAST_SD + torch.nn.functional.softplus(spread)
        exact = -0.5 * ((y[i] - mean) / sd) ** 2 - sd.log() - 0.5 * math.log(2 * math.pi)
        torch.testing.assert_close(post.log_likelihood()[0, 0, i], exact, atol=1e-4, rtol=1e-4)


def blobs(count: int, seed: int, *, hide_grey: bool = False) -> bm.Tasks:
    """Round spots anywhere on a small image, half of its pixels as support, the rest as query.

    With hide_grey supports say which pixels were seen, and not what was there.
    """
    generator = torch.Generator().manual_seed(seed)
    centre = 1.4 * torch.rand(count, 1, 2, generator=generator) - 0.7
    grey = torch.exp(-(PLACES - centre).square().sum(-1) / 0.18)
    order = torch.rand(count, SIDE**2, generator=generator).argsort(1)
    x, y = PLACES[order], grey.gather(1, order)
    half = SIDE**2 // 2
    seen = torch.randn(count, half, generator=generator) if hide_grey else y[:, :half]
    support = bm.Tasks.from_arrays(seen, {"x": x[:, :half]})
    return support.with_query(bm.Tasks.from_arrays(y[:, half:], {"x": x[:, half:]}))


def error_of_completion(*, hide_grey: bool) -> float:
    """Root mean square on unseen images after 400 steps."""
    model = convolutional_process.convolutional_process(2, SIDE, 4, 1.0, hidden=16)
    adam = bm.Adam(lr=3e-3, steps=400, patience=0, compile=False)
    pair = bm.ConvolutionalNeuralProcess(2, SIDE, 4, 1.0, 8, batch_size=16, adam=adam)
    post = bm.fit(model, blobs(500, 0, hide_grey=hide_grey), **pair, progress=False)
    new = blobs(100, 1, hide_grey=hide_grey)
    found = post.adapt(new).predict(new.query).mean
    return float((found - new.query.y).square().mean().sqrt())


@pytest.mark.slow
def test_images_are_completed_by_the_pixels_seen() -> None:
    """Grey values have an sd of 0.31; the control sees where pixels were, and noise."""
    assert error_of_completion(hide_grey=False) < 0.1
    assert error_of_completion(hide_grey=True) > 0.2
