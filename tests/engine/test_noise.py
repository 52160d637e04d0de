"""Devices: the same posterior on each, and on the device of the tasks (skipped without a GPU)."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bayesmeta as bm
from bayesmeta.engine.noise import normal, on_device
from bayesmeta.model.density import Density
from bayesmeta.model.prior import theta_start
from bayesmeta.model.reading import read
from bayesmeta.models import linear_regression, neural_process, sinusoid
from bayesmeta.theta.levels import level_terms

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
SHORT = bm.Adam(steps=20, compile=False)
TASKS = linear_regression.tasks(num_tasks=12, num_data=6, num_features=2)
PAIRS = [
    {"theta": bm.Point(adam=SHORT), "phi": bm.Amortised(draws=20)},
    {"theta": bm.Gaussian(adam=SHORT, draws=20), "phi": bm.Amortised(guide=bm.SplineFlow())},
    {"theta": bm.Gaussian(adam=SHORT, draws=20, batch_size=4), "phi": bm.Joint()},
    {"theta": bm.Point(adam=SHORT), "phi": bm.Exact(draws=20)},
    {"theta": bm.Point(adam=SHORT), "phi": bm.Laplace(draws=20)},
    {"theta": bm.Point(adam=SHORT), "phi": bm.GradientSteps()},
    {"theta": bm.Point(adam=SHORT), "phi": bm.VariationalSteps(draws=20)},
    {"theta": bm.Point(adam=SHORT), "phi": bm.SteinParticles()},
]


def name(pair: bm.Pair) -> str:
    return "-".join(type(part).__name__ for part in pair.values())


@gpu
@pytest.mark.gpu
@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_a_gpu_gives_the_posterior_of_the_cpu(pair: bm.Pair) -> None:
    model = linear_regression.model
    here = bm.fit(model, TASKS, **pair, progress=False)
    there = bm.fit(model, TASKS, **pair, device="cuda", progress=False)
    assert there.tasks.device.type == there.phi["w"].device.type == "cuda"
    assert torch.allclose(there.phi["w"].cpu(), here.phi["w"], atol=1e-4)
    new = linear_regression.tasks(num_tasks=3, num_data=4, num_features=2, seed=1)
    adapted = there.adapt(new)
    assert torch.allclose(adapted.phi["w"].cpu(), here.adapt(new).phi["w"], atol=1e-4)
    prediction = adapted.predict(repeats=30)
    assert prediction.mean.device.type == "cuda"
    assert torch.isfinite(prediction.quantile(0.9)).all()
    assert adapted.log_score().device.type == "cuda"
    there.to_arviz(), there.diagnose(), there.summary()


@gpu
@pytest.mark.gpu
def test_a_gpu_trains_a_network_in_mixed_precision() -> None:
    functions = neural_process.tasks(50, shots=10, queries=10)
    phi = bm.Amortised(bm.SetTransformer(), mixed_precision=True)
    theta = bm.Point(batch_size=16, adam=bm.Adam(steps=200, compile=False, patience=0))
    post = bm.fit(
        neural_process.model, functions, theta=theta, phi=phi, device="cuda", progress=False
    )
    assert post.losses[-50:].mean() < post.losses[:20].mean()


@gpu
@pytest.mark.gpu
def test_a_gpu_trains_neural_processes_and_goes_on_from_a_checkpoint(tmp_path: Path) -> None:
    functions = neural_process.tasks(50, shots=10, queries=10)
    for preset in (bm.NeuralProcess, bm.ConditionalNeuralProcess):
        pair = preset(batch_size=16, adam=SHORT)
        folder = tmp_path / preset.__name__
        fits = [
            bm.fit(
                neural_process.model,
                functions,
                **pair,
                device="cuda",
                checkpoint=folder,
                progress=False,
            )
            for _ in range(2)
        ]
        assert torch.equal(*(post.theta["theta"] for post in fits))
        refined = fits[0].adapt(functions).predict(functions.query)
        assert refined.mean.device.type == "cuda"


@gpu
@pytest.mark.gpu
def test_a_gpu_runs_maml() -> None:
    support, query = sinusoid.tasks(20, 20).split(10)
    pair = bm.MAML(5, 0.001, batch_size=10, adam=SHORT)
    post = bm.fit(sinusoid.model, support, query=query, **pair, device="cuda", progress=False)
    assert post.adapt(support).predict(query).mean.device.type == "cuda"


def test_random_numbers_do_not_depend_on_the_device() -> None:
    cpu = normal((3, 2), torch.float64, torch.Generator().manual_seed(0))
    with on_device(torch.device("meta")):
        other = normal((3, 2), torch.float64, torch.Generator().manual_seed(0))
        assert torch.zeros(2).device.type == "meta"
    assert other.device.type == "meta" and other.shape == cpu.shape
    assert torch.zeros(2).device.type == "cpu"


def test_the_device_of_the_tasks_is_the_default() -> None:
    pair = PAIRS[3]
    posts = [
        bm.fit(linear_regression.model, TASKS, **pair, device=device, progress=False)
        for device in (None, "cpu", torch.device("cpu"))
    ]
    assert all(torch.equal(post.phi["w"], posts[0].phi["w"]) for post in posts)


def test_nuts_is_refused_elsewhere_than_on_the_cpu() -> None:
    with pytest.raises(ValueError, match="samples on the CPU"):
        bm.fit(linear_regression.model, TASKS, device="cuda")


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_a_step_mixes_no_devices(pair: bm.Pair) -> None:
    """On torch's device that computes nothing but shapes, and refuses tensors of other devices."""
    phi = pair["phi"]
    density = Density(read(linear_regression.model, TASKS))
    state = phi.start(density, TASKS)
    noise = phi.noise(density, len(TASKS), TASKS.dtype, torch.Generator().manual_seed(0))
    free = torch.zeros(len(TASKS), density.d_phi, dtype=TASKS.dtype)
    terms = level_terms(density, phi, TASKS, jacobian=True, n_state=len(state), n_noise=len(noise))
    given = [theta_start(density, TASKS), free, *state, *noise]
    there = torch.device("meta")
    with on_device(there):
        # A density that is made on a device has these there.
        inputs = [x.to(there) for x in given]
        trained = [x.requires_grad_() for x in inputs[: 2 + len(state)]]
        prior, values = terms(*inputs, *TASKS.to(there).tensors())
        slopes = torch.autograd.grad(prior + values.sum(), trained, allow_unused=True)
        assert values.device == there
        assert all(slope is None or slope.device == there for slope in slopes)
        # Negative control: data on the CPU are refused.
        with pytest.raises(RuntimeError, match="device"):
            terms(*inputs, *TASKS.tensors())
