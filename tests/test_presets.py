"""Every preset is the pair that its paper describes, and runs by name alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

import bayesmeta as bm
from bayesmeta.models import convolutional_process, normal_means

SHORT = bm.Adam(steps=20, compile=False)

PRESETS = {
    bm.MAML: bm.GradientSteps(5, 0.01),
    bm.FOMAML: bm.GradientSteps(5, 0.01, first_order=True),
    bm.ANIL: bm.GradientSteps(5, 0.01),
    partial(bm.ProtoNet, 2): bm.GradientSteps(1, None),
    bm.MetaSGD: bm.GradientSteps(1, 0.01, learn_lr=True),
    bm.Reptile: bm.ReptileSteps(5, 0.01),
    bm.IMAML: bm.Mode(),
    bm.LLAMA: bm.Laplace(),
    bm.ALPaCA: bm.Exact(),
    bm.R2D2: bm.Exact(),
    bm.NeuralProcess: bm.Amortised(guide=bm.DiagonalNormal(), bound=bm.Predictive(8), draws=50),
    bm.VERSA: bm.Amortised(guide=bm.DiagonalNormal(), bound=bm.Predictive(10), draws=100),
    bm.AttentiveNeuralProcess: bm.Amortised(
        bm.SetTransformer(256, slots=16), bm.Delta(), bm.Predictive(1), draws=1, layers=0
    ),
    bm.ConditionalNeuralProcess: bm.Amortised(guide=bm.Delta(), bound=bm.Predictive(1), draws=1),
}
CONVOLUTIONAL = bm.Amortised(
    bm.Convolutional(16, dims=1, grid=8, reach=2.0, width=4),
    bm.Delta(),
    bm.Predictive(1),
    draws=1,
    layers=None,
)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: getattr(p, "__name__", "ProtoNet"))
def test_a_preset_is_its_pair_and_runs(preset: Callable[..., bm.Pair]) -> None:
    assert preset() == {"theta": bm.Point(), "phi": PRESETS[preset]}
    tasks = normal_means.tasks(num_tasks=4, num_data=4, seed=1, ragged=False)
    support, query = tasks.split(2)
    pair = preset(adam=bm.Adam(steps=20, compile=False), batch_size=2)
    post = bm.fit(normal_means.model, support, query=query, **pair, progress=False)
    assert post.is_point and post.phi["phi"].shape[-1] == 4


def test_the_convolutional_process_is_its_pair_and_runs_on_its_model() -> None:
    made = bm.ConvolutionalNeuralProcess(grid=8, maps=2, width=4, adam=SHORT)
    assert made == {"theta": bm.Point(adam=SHORT), "phi": CONVOLUTIONAL}
    model = convolutional_process.convolutional_process(grid=8, maps=2, hidden=8)
    tasks = convolutional_process.tasks(20, shots=5, queries=5)
    post = bm.fit(model, tasks, **made, progress=False)
    assert post.adapt(tasks).predict(tasks.query).mean.shape == (20, 5)
    smaller = convolutional_process.convolutional_process(grid=8, maps=1, hidden=8)
    with pytest.raises(bm.StructureError, match=r"16 features .* of 8 numbers it takes 8"):
        bm.fit(smaller, tasks, **made, progress=False)
