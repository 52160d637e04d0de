"""What holds for every model: sites and shapes, a finite density, capture by make_fx and vmap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bayesmeta.data.tasks import Tasks
from bayesmeta.models import (
    eight_schools,
    linear_regression,
    logistic_regression,
    lynx_hare,
    normal_means,
    radon,
    radon_contextual,
)

CONTEXTUAL = {
    "county_effect_mean": (),
    "county_effect_scale": (),
    "log_radon_scale": (),
    "weight": (3,),
    "county_effect": (85, 1),
}
RADON = dict.fromkeys(
    ["gamma0", "gamma1", "delta0", "delta1", "tau_alpha", "tau_beta", "sigma"], ()
) | {"alpha": (85, 1), "beta": (85, 1)}
ZOO = {
    "normal_means": (normal_means.model, normal_means.tasks, {"mu": (), "phi": (8, 1)}),
    "eight_schools": (
        eight_schools.model,
        eight_schools.tasks,
        {"mu": (), "tau": (), "effect": (8, 1)},
    ),
    "radon": (radon.model, radon.tasks, RADON),
    "radon_contextual": (radon_contextual.model, radon_contextual.tasks, CONTEXTUAL),
    "radon_contextual_halfnormal": (
        radon_contextual.model_halfnormal,
        radon_contextual.tasks,
        CONTEXTUAL,
    ),
    "linear_regression": (
        linear_regression.model,
        linear_regression.tasks,
        {"mu": (5,), "tau": (5,), "sigma": (), "w": (50, 1, 5)},
    ),
    "logistic_regression": (
        logistic_regression.model,
        logistic_regression.tasks,
        {"mu": (5,), "tau": (5,), "w": (200, 1, 5)},
    ),
    "lynx_hare": (
        lynx_hare.model,
        lynx_hare.tasks,
        dict.fromkeys(["alpha", "beta", "gamma", "delta"], (1, 1))
        | dict.fromkeys(["z0", "sigma"], (1, 1, 2)),
    ),
}
Entry = tuple[Callable[[Tasks], None], Callable[[], Tasks], dict[str, tuple[int, ...]]]
every_model = pytest.mark.parametrize("entry", ZOO.values(), ids=ZOO.keys())


def prior_draw(model: Callable[[Tasks], None], tasks: Tasks, seed: int) -> dict[str, Tensor]:
    pyro.set_rng_seed(seed)
    trace = poutine.trace(model).get_trace(tasks)
    return {name: trace.nodes[name]["value"] for name in trace.stochastic_nodes}


def log_density(model: Callable[[Tasks], None], tasks: Tasks, values: dict[str, Tensor]) -> Tensor:
    conditioned = poutine.condition(model, values)
    return poutine.trace(conditioned).get_trace(tasks).log_prob_sum()


@every_model
def test_sites_shapes_and_plates(entry: Entry) -> None:
    model, make, shapes = entry
    tasks = make()
    trace = poutine.trace(model).get_trace(tasks)
    values = {name: trace.nodes[name]["value"] for name in trace.stochastic_nodes}
    latents = {name: tuple(v.shape) for name, v in values.items() if "plate" not in name}
    assert {n: s for n, s in latents.items() if n in shapes} == shapes
    assert set(latents) - set(shapes) <= {"tasks", "data"}
    assert trace.observation_nodes == ["y"]
    frames = {f.name: (f.dim, f.size) for f in trace.nodes["y"]["cond_indep_stack"]}
    assert frames == {"tasks": (-2, tasks.num_tasks), "data": (-1, tasks.num_data)}
    assert trace.nodes["y"]["fn"].batch_shape == (tasks.num_tasks, tasks.num_data)


@every_model
def test_log_density_is_finite_float64_and_data_are_finite_in_the_padding(entry: Entry) -> None:
    model, make, _ = entry
    tasks = make()
    trace = poutine.trace(model).get_trace(tasks)
    trace.compute_log_prob()
    assert trace.log_prob_sum().isfinite()
    assert trace.log_prob_sum().dtype == torch.float64
    assert trace.nodes["y"]["log_prob"].isfinite().all()


@every_model
def test_without_y_the_model_predicts(entry: Entry) -> None:
    model, make, _ = entry
    tasks = make()
    trace = poutine.trace(model).get_trace(tasks.without_y())
    assert not trace.nodes["y"]["is_observed"]
    assert trace.nodes["y"]["value"].shape == (tasks.num_tasks, tasks.num_data)


@every_model
def test_runs_on_one_task(entry: Entry) -> None:
    model, make, _ = entry
    trace = poutine.trace(model).get_trace(make()[0])
    assert trace.log_prob_sum().isfinite()


@every_model
def test_captured_graph_under_vmap_equals_pyro_on_data_it_was_not_captured_with(
    entry: Entry,
) -> None:
    model, make, shapes = entry
    tasks = make()
    draws = [prior_draw(model, tasks, seed) for seed in range(3)]
    stacked = {name: torch.stack([draw[name] for draw in draws]) for name in shapes}

    def density(values: dict[str, Tensor], y: Tensor) -> Tensor:
        return log_density(model, replace(tasks, y=y), values)

    with pyro.validation_enabled(False):
        graph = make_fx(torch.vmap(density, in_dims=(0, None)))(stacked, tasks.y)
        other = tasks.y.flip(1)
        captured = graph(stacked, other)
    expected = torch.stack([log_density(model, replace(tasks, y=other), draw) for draw in draws])
    torch.testing.assert_close(captured, expected, rtol=1e-12, atol=1e-10)
