"""What the library runs leaves the caller's state alone, and runs at the tasks' precision."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.reparam import LocScaleReparam

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.handlers import run
from bayesmeta.model.reading import read
from bayesmeta.models import normal_means

NET = torch.nn.Linear(1, 1).double()


def model(tasks: bm.Tasks) -> None:
    """Parameters, a network, and a factory call at torch's default dtype."""
    level = pyro.param("level", torch.tensor(0.5))
    net = pyro.module("net", NET)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        pair = pyro.sample("pair", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        mean = level + net((pair @ torch.ones(2))[..., None])[..., 0]
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def fails(tasks: bm.Tasks) -> None:
    raise RuntimeError("no")


@pytest.mark.parametrize(("default", "validate"), [(torch.float32, True), (torch.float64, False)])
def test_the_callers_state_is_left_as_found(default: torch.dtype, validate: bool) -> None:
    pyro.clear_param_store()
    pyro.param("mine", torch.tensor(3.0))
    tasks = normal_means.tasks()
    own = list(NET.parameters())
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        with pyro.validation_enabled(validate):
            state = torch.random.get_rng_state()
            bm.structure(model, tasks)
            theta = bm.Point(adam=bm.Adam(steps=2))
            post = bm.fit(model, tasks, theta=theta, phi=bm.GradientSteps(2), progress=False)
            post.predict()
            post.log_likelihood()
            post.adapt(tasks[:2])
            with pytest.raises(bm.StructureError, match="no"):
                bm.structure(fails, tasks)
            assert torch.equal(torch.random.get_rng_state(), state)
            assert pyro.poutine.runtime._PYRO_STACK == []
            assert dist.Normal._validate_args is validate
        assert torch.get_default_dtype() is default
        assert list(pyro.get_param_store().keys()) == ["mine"]
        assert all(a is b for a, b in zip(own, NET.parameters(), strict=True))
    finally:
        torch.set_default_dtype(before)
        pyro.clear_param_store()


def test_network_parameters_are_theta_with_a_gradient() -> None:
    tasks = normal_means.tasks()
    density = Density(read(model, tasks))
    theta = torch.full((3,), 0.3, dtype=torch.float64, requires_grad=True)
    phi = torch.full((tasks.num_tasks, 2), 0.2, dtype=torch.float64)
    data = density.terms(theta, phi, tasks).data
    mean = 0.3 + 0.3 * 0.4 + 0.3
    expected = torch.where(tasks.mask, dist.Normal(mean, 1.0).log_prob(tasks.y), 0.0).sum(1)
    assert torch.allclose(data, expected, atol=1e-10)
    assert torch.autograd.grad(data.sum(), theta)[0].all()


def test_predictions_without_floating_columns_keep_float64() -> None:
    tasks = normal_means.tasks()
    assert tasks.without_y().dtype == torch.float64
    sites = run(model, tasks.without_y())
    assert {s.value.dtype for s in sites.values() if not s.is_param} == {torch.float64}


def test_same_seed_same_posterior() -> None:
    tasks = normal_means.tasks()
    fits = [
        bm.fit(model, tasks, theta=bm.Point(adam=bm.Adam(steps=3)), seed=s, progress=False).theta[
            "level"
        ]
        for s in (1, 1)
    ]
    assert torch.equal(*fits)


def test_a_model_that_pyro_reparameterises_is_fitted() -> None:
    tasks = normal_means.tasks(4, 3, ragged=False)
    config = {"phi": LocScaleReparam(0.0)}
    model = pyro.poutine.reparam(normal_means.model, config=config)
    theta = bm.NUTS(chains=1, tune=300, draws=2000, compile=False)
    post = bm.fit(model, tasks, theta=theta, phi=bm.Joint(), progress=False)
    exact = normal_means.exact(tasks)
    assert abs(post.theta["mu"].mean() - exact.mean[0]) < 0.15 * exact.sd[0]
    shown = post.theta["mu"][..., None] + normal_means.TAU * post.phi["phi_decentered"]
    assert ((shown.mean((0, 1)) - exact.mean[1:]).abs() < 0.15 * exact.sd[1:]).all()
