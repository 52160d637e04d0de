"""Exact: the closed form, against the multivariate normal that the model is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import linear_regression, logistic_regression, normal_means, radon

NOISE = 0.7


def line(tasks: bm.Tasks) -> None:
    """y_ij ~ N(w_i . (1, x_ij), NOISE), w_i ~ N(mu, tau): two phi sites, one of them a vector."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        w = pyro.sample("w", dist.Normal(mu, tau).to_event(1))
        shift = pyro.sample("shift", dist.Normal(0.0, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = (w * tasks.x["x"]).sum(-1) + shift
            pyro.sample("y", dist.Normal(mean, NOISE), obs=tasks.y)


def ragged_lines(seed: int = 0) -> bm.Tasks:
    generator = torch.Generator().manual_seed(seed)
    sizes = (4, 0, 2)
    xs = [torch.randn(n, 2, dtype=torch.float64, generator=generator) for n in sizes]
    ys = [torch.randn(n, dtype=torch.float64, generator=generator) for n in sizes]
    return bm.Tasks.from_list(ys, {"x": xs})


def closed_form(tasks: bm.Tasks, i: int, mu: Tensor, tau: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log p(y_i | theta), and mean and covariance of (w_i, shift_i), by textbook regression."""
    keep = tasks.mask[i]
    y = tasks.y[i][keep]
    design = torch.cat([tasks.x["x"][i][keep], torch.ones(len(y), 1, dtype=y.dtype)], 1)
    prior = torch.cat([mu, torch.zeros(1, dtype=y.dtype)])
    marginal = tau**2 * design @ design.T + NOISE**2 * torch.eye(len(y), dtype=y.dtype)
    log_p = y.new_zeros(())
    if len(y):
        log_p = dist.MultivariateNormal(design @ prior, marginal).log_prob(y)
    covariance = torch.linalg.inv(
        design.T @ design / NOISE**2 + torch.eye(3, dtype=y.dtype) / tau**2
    )
    mean = covariance @ (design.T @ y / NOISE**2 + prior / tau**2)
    return log_p, mean, covariance


@pytest.fixture
def theta() -> dict[str, Tensor]:
    return {
        "mu": torch.tensor([0.3, -1.2], dtype=torch.float64),
        "tau": torch.tensor(0.8, dtype=torch.float64),
    }


def _at(density: Density, tasks: bm.Tasks, theta: dict[str, Tensor]) -> Tensor:
    phi = {"w": torch.zeros(tasks.num_tasks, 2), "shift": torch.zeros(tasks.num_tasks)}
    return density.unconstrain({**theta, **{k: v.double() for k, v in phi.items()}}, tasks)[0]


def test_log_evidence_is_the_multivariate_normal(theta: dict[str, Tensor]) -> None:
    tasks = ragged_lines()
    density = Density(read(line, tasks))
    found = bm.Exact().log_evidence(density, _at(density, tasks, theta), tasks)
    expected = torch.stack([closed_form(tasks, i, **theta)[0] for i in range(3)])
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)
    wrong = torch.stack(
        [closed_form(tasks, i, theta["mu"], theta["tau"] * math.sqrt(2))[0] for i in range(3)]
    )
    assert not torch.allclose(found, wrong, rtol=0, atol=1e-3)


def test_gradient_in_theta(theta: dict[str, Tensor]) -> None:
    tasks = ragged_lines()
    density = Density(read(line, tasks))
    start = _at(density, tasks, theta).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda t: bm.Exact().log_evidence(density, t, tasks), (start,), atol=1e-8
    )


def test_query_is_scored_given_the_support(theta: dict[str, Tensor]) -> None:
    """log p(query | support) = log p(both) - log p(support)."""
    both = bm.Tasks.from_list(
        [torch.tensor([0.1, -0.4, 1.0, 0.3], dtype=torch.float64)],
        {"x": [torch.randn(4, 2, dtype=torch.float64)]},
    )
    support, query = both.split(1, seed=0)
    density = Density(read(line, both))
    at = _at(density, support, theta)
    found = bm.Exact().log_evidence(density, at, support.with_query(query))
    expected = closed_form(both, 0, **theta)[0] - closed_form(support, 0, **theta)[0]
    assert torch.allclose(found, expected, rtol=0, atol=1e-10)


def test_draws_of_phi_are_the_posterior(theta: dict[str, Tensor]) -> None:
    tasks = ragged_lines()
    density = Density(read(line, tasks))
    count = 40_000
    draws = bm.Exact().infer(
        density,
        _at(density, tasks, theta).expand(count, -1),
        tasks,
        torch.Generator().manual_seed(1),
        is_point=False,
    )
    for i in range(3):
        _, mean, covariance = closed_form(tasks, i, **theta)
        error = (draws[:, i].mean(0) - mean) / covariance.diagonal().sqrt() * math.sqrt(count)
        assert error.abs().max() < 4.5
        assert (torch.cov(draws[:, i].T) - covariance).abs().max() < 0.02 * covariance.max()


@pytest.mark.slow
def test_agrees_with_the_whole_posterior() -> None:
    """On normal means, whose theta and phi are jointly Gaussian, NUTS over mu alone is exact."""
    tasks = normal_means.tasks(num_tasks=6, num_data=4, seed=2)
    post = bm.fit(
        normal_means.model,
        tasks,
        theta=bm.NUTS(draws=2000, compile=False),
        phi=bm.Exact(),
        progress=False,
    )
    exact = normal_means.exact(tasks)
    found = torch.cat([post.theta["mu"][..., None], post.phi["phi"]], -1).flatten(0, 1)
    assert ((found.mean(0) - exact.mean) / exact.sd).abs().max() < 0.1
    assert (found.std(0) / exact.sd - 1).abs().max() < 0.05


def test_a_point_estimate_keeps_phi_a_distribution() -> None:
    tasks = normal_means.tasks(num_tasks=4, num_data=3, seed=2)
    point = bm.Point(adam=bm.Adam(steps=400, compile=False))
    post = bm.fit(normal_means.model, tasks, theta=point, phi=bm.Exact(draws=300), progress=False)
    assert post.theta["mu"].shape == (1, 300) and post.phi["phi"].shape == (1, 300, 4)
    assert len(post.theta["mu"].unique()) == 1 and (post.phi["phi"].std((0, 1)) > 0.1).all()
    adapted = post.adapt(normal_means.tasks(num_tasks=2, seed=5), phi=bm.Exact(draws=7))
    assert adapted.phi["phi"].shape == (1, 7, 2)


def test_refuses_where_there_is_no_closed_form() -> None:
    tasks = logistic_regression.tasks()
    with pytest.raises(bm.StructureError, match=r"curvature .* changes by .* at task"):
        bm.fit(logistic_regression.model, tasks, theta=bm.Point(), phi=bm.Exact(), progress=False)


@pytest.mark.parametrize(
    ("mean", "fault"),
    [
        (lambda phi: (5.0 * phi).sin(), "is not positive definite"),
        # The distance of phi from itself has no second derivative.
        (lambda phi: phi + (phi - phi.detach()).square().sqrt(), "is not finite"),
    ],
)
def test_a_change_that_is_no_number_is_told_in_words(
    mean: Callable[[Tensor], Tensor], fault: str
) -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(mean(phi), 0.1), obs=tasks.y)

    tasks = normal_means.tasks(num_tasks=3, num_data=2)
    density = Density(read(model, tasks))
    with pytest.raises(bm.StructureError, match=rf"{fault} at task .*bm\.Laplace\(\)"):
        bm.Exact().check(density, tasks)


def test_accepts_linear_regression() -> None:
    tasks = linear_regression.tasks()
    density = Density(read(linear_regression.model, tasks))
    bm.Exact().check(density, tasks)


@pytest.mark.slow
def test_nuts_over_theta_alone_agrees_with_nuts_over_both_on_radon() -> None:
    counties = radon.tasks()
    sampler = bm.NUTS(draws=2000)
    alone, both = (
        bm.fit(radon.model, counties, theta=sampler, phi=phi, seed=seed, progress=False)
        for seed, phi in ((1, bm.Exact()), (2, bm.Joint()))
    )
    for level in ("theta", "phi"):
        for name, expected in getattr(both, level).items():
            found, expected = getattr(alone, level)[name].flatten(0, 1), expected.flatten(0, 1)
            assert ((found.mean(0) - expected.mean(0)).abs() < 0.1 * expected.std(0)).all(), name
            assert ((found.std(0) / expected.std(0) - 1).abs() < 0.1).all(), name


def bump(tasks: bm.Tasks) -> None:
    """Linear in a for all that the prior draws, and not where the data are."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1e4))
    tau = pyro.sample("tau", dist.HalfNormal(10.0))
    s = pyro.sample("s", dist.HalfNormal(10.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Normal(mu, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = a + torch.exp(-(((a - 5000) / 5) ** 2)) * tasks.x["x"]
            pyro.sample("y", dist.Normal(mean, s), obs=tasks.y)


@pytest.mark.parametrize("theta", [bm.Point(), bm.Importance(draws=200)])
def test_a_bend_where_inference_leads_to_is_seen(theta: bm.Theta) -> None:
    draw = torch.Generator().manual_seed(0)
    x, level = torch.randn(10, 20, generator=draw), torch.randn(10, 1, generator=draw)
    y = 5000 + 2 * level + 0.3 * x + 2 * torch.randn(10, 20, generator=draw)
    tasks = bm.Tasks.from_arrays(y.double(), x={"x": x.double()})
    with pytest.raises(bm.StructureError, match=r"from one phi to another at task"):
        bm.fit(bump, tasks, theta=theta, phi=bm.Exact(), progress=False)
    # The same model of other data is as good as linear.
    far = bm.Tasks.from_arrays(y.double() - 4000, x={"x": x.double()})
    assert bm.fit(bump, far, theta=theta, phi=bm.Exact(), progress=False).theta["mu"].mean() > 990


def test_a_scale_at_zero_is_left_to_what_is_said_of_theta() -> None:
    tasks = ragged_lines().to(dtype=torch.float64)
    density = Density(read(line, tasks))
    gone = torch.full((1, density.d_theta), -2000.0, dtype=torch.float64)
    assert density.constrain(gone[0], torch.zeros(len(tasks), density.d_phi), tasks)["tau"] == 0
    bm.Exact().check_found(density, tasks, gone)
