"""What the library runs leaves the caller's state alone, and runs at the tasks' precision."""

from __future__ import annotations

from itertools import permutations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import normal_means
from bayesmeta.running import handlers
from bayesmeta.running.handlers import Model, run

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
    theta = bm.NUTS(chains=1, tune=200, draws=800, compile=False)
    post = bm.fit(model, tasks, theta=theta, phi=bm.Joint(), progress=False)
    exact = normal_means.exact(tasks)
    assert abs(post.theta["mu"].mean() - exact.mean[0]) < 0.15 * exact.sd[0]
    shown = post.theta["mu"][..., None] + normal_means.TAU * post.phi["phi_decentered"]
    assert ((shown.mean((0, 1)) - exact.mean[1:]).abs() < 0.15 * exact.sd[1:]).all()


SD = 1.7


def _handled(how: str) -> Model:
    def handled(tasks: bm.Tasks) -> None:
        scale = {"scale": 0.5, "plain": 1.0}.get(how)
        if how == "improper":
            tau = pyro.sample("tau", dist.ImproperUniform(dist.constraints.positive, (), ()))
        elif how == "dist.mask":
            tau = pyro.sample("tau", dist.HalfNormal(SD).mask(False))
        elif how == "mask":
            with poutine.mask(mask=False):
                tau = pyro.sample("tau", dist.HalfNormal(SD))
        else:
            with poutine.scale(scale=scale):
                tau = pyro.sample("tau", dist.HalfNormal(SD))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            with poutine.scale(scale=0.5 if how == "scale" else 1.0):
                phi = pyro.sample("phi", dist.Normal(0.0, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    return handled


POWER = {"plain": 1.0, "scale": 0.5, "mask": 0.0, "dist.mask": 0.0, "improper": 0.0}


def assert_jacobian_is_whole(how: str, *, centred: bool) -> None:
    """log p(tau)^power + log |d tau / du|, and the same of phi with its own power."""
    tasks = normal_means.tasks(num_tasks=2, num_data=3, ragged=False)
    density = Density(read(_handled(how), tasks))
    density = density if centred else density.noncentre(["phi"])
    theta = torch.tensor([-0.4], dtype=torch.float64)
    free = torch.tensor([[0.3], [-1.1]], dtype=torch.float64)
    tau = theta.exp()
    terms = density.terms(theta, free, tasks)
    prior = dist.HalfNormal(torch.tensor(SD, dtype=torch.float64)).log_prob(tau)
    assert torch.isclose(terms.theta, POWER[how] * prior[0] + theta[0])
    power = 0.5 if how == "scale" else 1.0
    phi = (free if centred else tau * free)[:, 0]
    stretch = 0.0 if centred else theta
    assert torch.allclose(terms.phi, power * dist.Normal(0.0, tau).log_prob(phi) + stretch)


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("how", POWER)
def test_handlers_around_a_latent_act_on_its_density_alone(how: str, centred: bool) -> None:
    assert_jacobian_is_whole(how, centred=centred)


@pytest.mark.parametrize("how", ["scale", "mask"])
def test_negative_control_the_jacobian_scaled_with_it(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        handlers,
        "_handled",
        lambda log_prob, choice, msg: handlers.scale_and_mask(log_prob, msg["scale"], msg["mask"]),
    )
    with pytest.raises(AssertionError):
        assert_jacobian_is_whole(how, centred=True)


def test_an_improper_uniform_is_a_flat_prior_with_a_note() -> None:
    """phi with a flat prior has the mean and sd of its own data, a closed form."""

    def flat(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.ImproperUniform(dist.constraints.real, (), ()))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 2.0), obs=tasks.y)

    tasks = bm.Tasks.from_list([[1.0, 2.0, 6.0], [-4.0, -5.0]]).to(dtype=torch.float64)
    found = read(flat, tasks).structure.nodes
    assert found["phi"].distribution == "flat"
    assert found["y"].parents == ("phi",)
    known = bm.fit(flat, tasks, theta=bm.Fixed({}), phi=bm.Exact(draws=4000), progress=False)
    mean, sd = torch.tensor([3.0, -4.5]), 2 / torch.tensor([3.0, 2.0]).sqrt()
    draws = known.phi["phi"][0]
    assert ((draws.mean(0) - mean).abs() < 4 * sd / 4000**0.5).all()
    assert ((draws.std(0) / sd - 1).abs() < 0.05).all()
    short = bm.NUTS(chains=1, tune=20, draws=20, compile=False)
    post = bm.fit(flat, tasks, theta=short, progress=False)
    assert post.notes[-1].startswith("ImproperUniform phi: part of phi with a flat prior")


@pytest.mark.parametrize("dims", [*permutations((-1, -2, -3))])
@pytest.mark.parametrize("reparameterised", [False, True])
def test_plates_are_in_the_order_of_with(dims: tuple[int, ...], reparameterised: bool) -> None:
    def nested(tasks: bm.Tasks) -> None:
        for _ in pyro.plate("loop", 1):
            a, b, c = (
                pyro.plate(*p, dim=dim) for *p, dim in zip("abc", (2, 3, 4), dims, strict=True)
            )
            with a, b, c:
                pyro.sample("z", dist.Normal(0.0, 1.0))
                pyro.param("level", torch.tensor(0.0))

    config = {"z": LocScaleReparam(0.0)} if reparameterised else {}
    sites = run(poutine.reparam(nested, config=config), normal_means.tasks())
    assert ("z_decentered" in sites) is reparameterised
    for site in sites.values():
        expected = [("a", dims[0], 2), ("b", dims[1], 3), ("c", dims[2], 4)]
        assert [(p.name, p.dim, p.size) for p in site.plates[1:]] == expected
        assert site.plates[0].name == "loop"
