"""Gauss-Newton: the Hessian where parameters are linear, and the Fisher information elsewhere."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior, theta_start
from bayesmeta.model.reading import read
from bayesmeta.nets.net import Net
from bayesmeta.running.handlers import Model
from bayesmeta.running.isolation import isolated
from bayesmeta.task_level.curvature import slope
from bayesmeta.task_level.gauss_newton import _slopes, choose
from tests.cases import NETWORKS, drop

with isolated(seed=0):
    NET = Net(nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3)))


def generalised(family: str) -> Model:
    """Outcomes whose natural parameters are linear in phi."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            with pyro.plate("features", 2, dim=-3):
                w = pyro.sample("w", dist.Normal(mu, tau))
            level = pyro.sample("level", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
            x = tasks.x["x"]
            eta = w[0] * x[..., 0] + w[1] * x[..., 1]
            with pyro.plate("data", tasks.num_data, dim=-1):
                fn = {
                    "normal": dist.Normal(eta, 0.5 + mu.abs()),
                    "event": dist.Normal(eta[..., None] + level, 0.7).to_event(1),
                    "bernoulli": dist.Bernoulli(logits=eta + level[..., 0]),
                    "binomial": dist.Binomial(3, logits=eta),
                    "poisson": dist.Poisson(eta.exp()),
                    "categorical": dist.Categorical(logits=eta[..., None] * level.detach() + level),
                }[family]
                pyro.sample("y", fn, obs=tasks.y)

    return model


def data(family: str) -> bm.Tasks:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 2, dtype=torch.float64, generator=generator)
    y = torch.randint(0, 2, (3, 4), generator=generator).double()
    if family == "event":
        y = torch.randn(3, 4, 3, dtype=torch.float64, generator=generator)
    return drop(bm.Tasks.from_arrays(y, {"x": x}))


def at(density: Density, tasks: bm.Tasks) -> tuple[Tensor, Tensor]:
    with isolated(seed=3):
        return draw_prior(density, tasks)


@pytest.mark.parametrize(
    "family", ["normal", "event", "bernoulli", "binomial", "poisson", "categorical"]
)
def test_is_the_hessian_where_natural_parameters_are_linear(family: str) -> None:
    tasks, model = data(family), generalised(family)
    density = Density(read(model, tasks))
    theta, phi = at(density, tasks)
    expected = bm.Hessian().expand(density, theta, phi, [tasks], jacobian=True)
    bm.GaussNewton().check(density, tasks)
    found = bm.GaussNewton().expand(density, theta, phi, [tasks], jacobian=True)
    vector = torch.randn_like(phi)
    for one, other in zip(
        found.precision.solve(vector), expected.precision.solve(vector), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def network(scale: float = 0.3) -> Model:
    def model(tasks: bm.Tasks) -> None:
        theta = pyro.param("theta", lambda: NET.weights().to(tasks.dtype))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, scale).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = NET(phi, tasks.x["x"])[..., :2]
                pyro.sample("y", dist.Normal(mean[..., 0], mean[..., 1].exp()), obs=tasks.y)

    return model


NET_TASKS = data("normal")


@pytest.fixture(scope="module")
def net_density() -> Density:
    model = network()
    return Density(read(model, NET_TASKS))


@pytest.mark.slow
def test_of_a_network_is_the_expected_outer_product_of_scores(net_density: Density) -> None:
    """The Fisher information by simulation: an oracle that knows nothing of the family."""
    theta, phi = at(net_density, NET_TASKS)
    found = bm.GaussNewton().expand(net_density, theta, phi, [NET_TASKS], jacobian=True)
    assert found.precision.tensors()[1].shape[1] == 8  # mean and scale of four datapoints
    fisher = torch.zeros(3, NET.size, NET.size, dtype=torch.float64)
    count = 4000
    with isolated(seed=1):
        (site,) = net_density.outcomes(theta, phi, NET_TASKS).values()
        for _ in range(count):
            drawn = bm.Tasks.from_arrays(site.fn.sample(), NET_TASKS.x, NET_TASKS.mask)
            leaf = phi.clone().requires_grad_()
            score = net_density.log_likelihood(theta, leaf, drawn)
            (slope,) = torch.autograd.grad(score.sum(), leaf)
            fisher += slope[:, :, None] * slope[:, None, :] / count
    expected = fisher + torch.eye(NET.size, dtype=torch.float64) / 0.3**2
    matrix = found.precision.dense().matrix
    error = (matrix - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))
    assert (error < 0.05).all()
    hessian = bm.Hessian().expand(net_density, theta, phi, [NET_TASKS], jacobian=True)
    assert not torch.allclose(hessian.precision.matrix, matrix, atol=0.1)


@pytest.mark.slow
def test_mode_of_a_network_and_its_gradient(net_density: Density) -> None:
    """The search by Gauss-Newton ends where Newton's does; the gradient is the implicit one."""
    theta = theta_start(net_density, NET_TASKS).requires_grad_()
    fast, slow = (
        bm.Mode(curvature).log_evidence(net_density, theta, NET_TASKS)
        for curvature in (bm.GaussNewton(), bm.Hessian())
    )
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)
    (slope,) = torch.autograd.grad(fast.sum(), theta)
    (expected,) = torch.autograd.grad(slow.sum(), theta)
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-4)
    step = 1e-4 * torch.randn(theta.shape, dtype=theta.dtype, generator=torch.Generator())
    ahead, behind = (
        bm.Mode(bm.GaussNewton()).log_evidence(net_density, theta.detach() + s, NET_TASKS).sum()
        for s in (step, -step)
    )
    assert (slope @ step).item() == pytest.approx(((ahead - behind) / 2).item(), rel=1e-4)


def test_laplace_of_a_network_has_the_gradient_of_its_value(net_density: Density) -> None:
    theta = theta_start(net_density, NET_TASKS).requires_grad_()
    laplace = bm.Laplace(curvature=bm.GaussNewton())
    (slope,) = torch.autograd.grad(laplace.log_evidence(net_density, theta, NET_TASKS).sum(), theta)
    step = 1e-4 * torch.randn(theta.shape, dtype=theta.dtype, generator=torch.Generator())
    ahead, behind = (
        laplace.log_evidence(net_density, theta.detach() + s, NET_TASKS).sum()
        for s in (step, -step)
    )
    assert (slope @ step).item() == pytest.approx(((ahead - behind) / 2).item(), rel=1e-3)


def test_draws_of_phi_have_the_covariance_of_the_curvature(net_density: Density) -> None:
    theta = theta_start(net_density, NET_TASKS)[None]
    laplace = bm.Laplace(curvature=bm.GaussNewton())
    draws = laplace.infer(
        net_density,
        theta.expand(20_000, -1),
        NET_TASKS,
        torch.Generator().manual_seed(0),
        is_point=True,
    )
    mean = draws.mean(0)
    found = bm.GaussNewton().expand(net_density, theta[0], mean, [NET_TASKS], jacobian=True)
    covariance = torch.linalg.inv(found.precision.dense().matrix)
    for i in range(3):
        error = torch.cov(draws[:, i].T) - covariance[i]
        assert error.abs().max() < 0.05 * covariance[i].abs().max()


def test_several_draws_of_theta_are_treated_at_once(net_density: Density) -> None:
    theta = (
        theta_start(net_density, NET_TASKS) + 0.1 * torch.arange(3.0, dtype=torch.float64)[:, None]
    )
    mode = bm.Mode(bm.GaussNewton())
    generator = torch.Generator()
    together = mode.infer(net_density, theta, NET_TASKS, generator, is_point=False)
    apart = [mode.infer(net_density, t[None], NET_TASKS, generator, is_point=True) for t in theta]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-5, atol=1e-5)


def test_chosen_for_large_phi_that_it_can_treat(net_density: Density) -> None:
    def correlated(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            cov = torch.eye(70, dtype=torch.float64) + 0.5
            w = pyro.sample("w", dist.MultivariateNormal(cov[0], cov))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(w.sum(-1), 1.0), obs=tasks.y)

    assert choose(None, net_density, NET_TASKS) == bm.Hessian()  # 51 weights are few
    density = Density(read(correlated, NET_TASKS))
    assert choose(None, density, NET_TASKS) == bm.Hessian()
    with pytest.raises(bm.StructureError, match=r"depend on each other given theta .*Hessian"):
        bm.GaussNewton().check(density, NET_TASKS)


@pytest.mark.parametrize(
    ("likelihood", "complaint"),
    [
        (lambda w: dist.StudentT(3.0, w, 1.0), "site 'y' is StudentT"),
        (lambda w: dist.Normal(w, 1.0).mask(torch.tensor(False)), "site 'y' is"),
    ],
)
def test_outcomes_that_it_does_not_know_are_refused(likelihood: object, complaint: str) -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            w = pyro.sample("w", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", likelihood(w), obs=tasks.y)  # type: ignore[operator]

    density = Density(read(model, NET_TASKS))
    with pytest.raises(bm.StructureError, match=complaint):
        bm.Laplace(curvature=bm.GaussNewton()).check(density, NET_TASKS)


def test_where_the_prior_is_not_concave_phi_is_nan_and_no_point_on_the_way() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            w = pyro.sample("w", dist.StudentT(3.0, 0.0, 0.1).expand([6]).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                mean = 10.0 * (w[..., :2] * tasks.x["x"]).sum(-1) - 20.0
                pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)

    density = Density(read(model, NET_TASKS))
    mode, theta = bm.Mode(bm.GaussNewton()), torch.zeros(1, 0, dtype=torch.float64)
    (found,) = mode.infer(density, theta, NET_TASKS, torch.Generator(), is_point=True)
    _, gradient, _ = slope(density, theta[0], found, [NET_TASKS], jacobian=False)
    astray = found.isnan().any(-1)
    assert astray.any()
    assert (gradient[~astray].abs() < 1e-3).all()


def test_group_normalisation_has_slopes_though_torch_does_not_batch_them() -> None:
    model, tasks, _ = NETWORKS["classifier"]
    density = Density(read(model, tasks))
    theta, phi = at(density, tasks)
    phi.requires_grad_()
    (logits,) = (fn.fn.logits for fn in density.outcomes(theta, phi, tasks).values())
    values = logits.flatten(1)
    weights = torch.rand_like(values).detach()
    found = _slopes(values, phi, weights)
    for cell in range(values.shape[1]):
        weighted = (weights * values)[:, cell].sum()
        (expected,) = torch.autograd.grad(weighted, phi, retain_graph=True)
        torch.testing.assert_close(found[cell], expected, rtol=1e-9, atol=1e-12)
