"""A density on few datapoints is that on all of them, or is not taken for it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior
from bayesmeta.model.reading import read
from bayesmeta.models import radon
from bayesmeta.running.isolation import isolated
from bayesmeta.sufficiency import sufficient
from bayesmeta.sufficiency.information import Information
from bayesmeta.theta.log_posterior import LogPosterior

RANDOM = np.random.default_rng(0)
SIZES = (40, 25, 3, 1, 33)
X = [RANDOM.normal(size=(n, 2)) for n in SIZES]
SE = [0.5 + RANDOM.random(n) for n in SIZES]
Y = [1 + x @ RANDOM.normal(size=2) + RANDOM.normal(size=len(x)) for x in X]
TASKS = bm.Tasks.from_list(y=Y, x={"x": X, "se": SE}).to(dtype=torch.float64)


def model_of(outcome: Callable, *, noncentred: bool = False) -> Callable[[bm.Tasks], None]:
    """Two slopes a task; `outcome` makes of slopes, a third of theta, s and tasks what y is of."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
        s = pyro.sample("s", dist.HalfNormal(2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            if noncentred:
                z = pyro.sample("w", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                w = mu + tau * z
            else:
                w = pyro.sample("w", dist.Normal(mu, tau).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", outcome(w, beta, s, tasks), obs=tasks.y)

    return model


def linear(w, beta, s, tasks):
    return dist.Normal((tasks.x["x"] * w).sum(-1), s)


def with_fixed_effect(w, beta, s, tasks):
    return dist.Normal((tasks.x["x"] * w).sum(-1) + beta * tasks.x["se"].square(), s)


def with_known_errors(w, beta, s, tasks):
    return dist.Normal((tasks.x["x"] * w).sum(-1), s * tasks.x["se"])


def squared(w, beta, s, tasks):
    return dist.Normal((tasks.x["x"] * w.square()).sum(-1) + beta.exp(), s)


def bent(w, beta, s, tasks):
    return dist.Normal((tasks.x["x"] * w).sum(-1).tanh(), s)


def heavy(w, beta, s, tasks):
    return dist.StudentT(4.0, (tasks.x["x"] * w).sum(-1), s)


def with_errors_that_learn(w, beta, s, tasks):
    return dist.Normal((tasks.x["x"] * w).sum(-1), s * (beta * tasks.x["se"]).exp())


def about_the_mean(w, beta, s, tasks):
    x = tasks.x["x"] - (tasks.x["x"] * tasks.mask[..., None]).sum(1, keepdim=True)
    return dist.Normal((x * w).sum(-1), s)


FEW = {"linear": linear, "fixed": with_fixed_effect, "known": with_known_errors, "squared": squared}
ALL = {"bent": bent, "heavy": heavy, "learned": with_errors_that_learn, "mean": about_the_mean}


def density_of(model: Callable[[bm.Tasks], None], tasks: bm.Tasks = TASKS) -> Density:
    return Density(read(model, tasks))


@pytest.mark.parametrize("noncentred", [False, True])
@pytest.mark.parametrize("name", FEW)
def test_the_density_of_few_is_that_of_all(name: str, noncentred: bool) -> None:
    density = density_of(model_of(FEW[name], noncentred=noncentred))
    short = sufficient(density, TASKS)
    assert short is not None
    assert short.tasks.num_data <= 3
    for seed in range(20):
        with isolated(seed + 1):
            theta, phi = draw_prior(density, TASKS)
        one = density.terms(theta, phi, TASKS)
        other = short.density.terms(theta, phi, short.tasks)
        for a, b in zip(one, other, strict=True):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ALL)
def test_other_densities_are_of_all_data(name: str) -> None:
    assert sufficient(density_of(model_of(ALL[name])), TASKS) is None


def weighted(tasks: bm.Tasks) -> None:
    """Each task's likelihood to the power of a half."""
    with poutine.scale(scale=0.5):
        model_of(linear)(tasks)


def counted(tasks: bm.Tasks) -> None:
    """It runs on the number of datapoints that it was written for alone."""
    if tasks.num_data != max(SIZES):
        raise ValueError("there are 40 of them")
    model_of(linear)(tasks)


@pytest.mark.parametrize("model", [weighted, counted])
def test_models_that_it_does_not_know_are_of_all_data(model: Callable) -> None:
    assert sufficient(density_of(model), TASKS) is None


def test_what_cannot_be_tried_is_of_all_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_draws(*given: object) -> None:
        raise NotImplementedError

    density = density_of(model_of(linear))
    assert sufficient(density, TASKS) is not None
    monkeypatch.setattr(sys.modules[sufficient.__module__], "draw_prior", no_draws)
    assert sufficient(density, TASKS) is None


def test_means_linear_in_phi_need_no_derivatives_of_data() -> None:
    found = {n: sufficient(density_of(model_of(FEW[n])), TASKS) for n in ("linear", "squared")}
    assert found["linear"].curvature == Information(is_diagonal=True)
    assert found["squared"].curvature == bm.Hessian()


@pytest.mark.parametrize("phi", [bm.Exact(), bm.Laplace(), bm.Joint()])
@pytest.mark.parametrize("name", ["linear", "fixed", "known"])
def test_evidence_and_its_gradient_are_those_of_all_data(
    name: str, phi: bm.Phi, monkeypatch: pytest.MonkeyPatch
) -> None:
    density, points = density_of(model_of(FEW[name])), torch.randn(6, 5, dtype=torch.float64)
    short = LogPosterior(density, phi, TASKS, jacobian=True)
    monkeypatch.setattr(type(phi), "shortened", lambda *given: None)
    whole = LogPosterior(density, phi, TASKS, jacobian=True)
    assert short.tasks.num_data < whole.tasks.num_data
    for a, b in zip(short.slopes(points), whole.slopes(points), strict=True):
        assert torch.allclose(a, b, rtol=1e-7, atol=1e-7)


def test_an_independence_that_is_not_there_is_seen() -> None:
    def model(tasks: bm.Tasks) -> None:
        s = pyro.sample("s", dist.HalfNormal(2.0))
        chol = torch.tensor([[1.0, 0.0], [0.8, 0.6]], dtype=tasks.dtype)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            w = pyro.sample("w", dist.MultivariateNormal(torch.zeros(2), scale_tril=chol))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", linear(w, None, s, tasks), obs=tasks.y)

    short = sufficient(density_of(model), TASKS)
    assert short is not None
    assert short.curvature == Information(is_diagonal=False)


def rare(tasks: bm.Tasks) -> None:
    """At a noise that no prior draw has, another column has a share in the slopes."""
    s = pyro.sample("s", dist.HalfNormal(2.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            share = 5e-4 * (-s / 1e-4).exp()
            x = tasks.x["x"][..., 0] + share * tasks.x["x"][..., 1]
            pyro.sample("y", dist.Normal(w * x, s), obs=tasks.y)


def test_what_holds_where_it_was_tried_is_tried_where_it_led_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    y = [0.3 * x @ [1, 5e-4] + 2e-5 * RANDOM.normal(size=len(x)) for x in X]
    tasks = bm.Tasks.from_list(y=y, x={"x": X}).to(dtype=torch.float64)
    density, start = density_of(rare, tasks), torch.tensor([-8.0], dtype=torch.float64)
    target = LogPosterior(density, bm.Exact(), tasks, jacobian=False)
    assert target.tasks.num_data == 1
    found = target.maximum(start=start)
    assert target.density is density
    monkeypatch.setattr(bm.Exact, "shortened", lambda *given: None)
    whole = LogPosterior(density, bm.Exact(), tasks, jacobian=False).maximum(start=start)
    assert found.distance < 1e-3
    assert torch.allclose(found.at, whole.at)
    assert float(found.at.exp()) < 1e-4


def without_phi(tasks: bm.Tasks) -> None:
    beta = pyro.sample("beta", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(beta * tasks.x["se"], 1.0), obs=tasks.y)


def test_a_model_without_phi_is_of_few_data_too() -> None:
    short = sufficient(density_of(without_phi), TASKS)
    assert short is not None
    assert short.tasks.num_data == 1


def test_radon_is_two_houses_a_county() -> None:
    tasks = radon.tasks().to(dtype=torch.float64)
    short = sufficient(density_of(radon.model, tasks), tasks)
    assert short is not None
    assert short.tasks.num_data == 2


@pytest.mark.slow
@pytest.mark.parametrize("phi", [bm.Joint(), bm.Exact()])
def test_draws_of_nuts_are_those_of_all_data(phi: bm.Phi, monkeypatch: pytest.MonkeyPatch) -> None:
    nuts = bm.NUTS(chains=2, tune=300, draws=500, cores=1, compile=False)
    model = model_of(with_fixed_effect)
    short = bm.fit(model, TASKS, theta=nuts, phi=phi, progress=False)
    monkeypatch.setattr(type(phi), "shortened", lambda *given: None)
    whole = bm.fit(model, TASKS, theta=nuts, phi=phi, progress=False)
    for name in ("beta", "s"):
        one, other = short.theta[name], whole.theta[name]
        assert float((one.mean() - other.mean()).abs() / other.std()) < 0.25
    w = short.phi["w"].mean((0, 1)) - whole.phi["w"].mean((0, 1))
    assert float((w.abs() / whole.phi["w"].flatten(0, 1).std(0)).max()) < 0.3
