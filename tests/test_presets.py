"""Every preset is the pair that its paper describes, and runs by name alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

import bayesmeta as bm
from bayesmeta.models import normal_means

PRESETS = {
    bm.MAML: bm.GradientSteps(5, 0.01),
    bm.FOMAML: bm.GradientSteps(5, 0.01, first_order=True),
    bm.ANIL: bm.GradientSteps(5, 0.01),
    partial(bm.ProtoNet, 2): bm.GradientSteps(1, 0.5),
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


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: getattr(p, "__name__", "ProtoNet"))
def test_a_preset_is_its_pair_and_runs(preset: Callable[..., bm.Pair]) -> None:
    assert preset() == {"theta": bm.Point(), "phi": PRESETS[preset]}
    tasks = normal_means.tasks(num_tasks=4, num_data=4, seed=1, ragged=False)
    support, query = tasks.split(2)
    pair = preset(adam=bm.Adam(steps=20, compile=False), batch_size=2)
    post = bm.fit(normal_means.model, support, query=query, **pair, progress=False)
    assert post.is_point and post.phi["phi"].shape[-1] == 4
