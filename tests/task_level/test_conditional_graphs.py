"""Draws and modes of p(phi | theta, D) against quadrature, where it is not Gaussian."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.task_level.ascent import find_mode
from bayesmeta.task_level.conditional_draws import draw_conditional
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.curvature import Hessian

F64 = torch.float64
# Few binary outcomes under a wide prior: a skewed conditional.
TASKS = bm.Tasks.from_list([[1.0, 1.0], [0.0, 1.0, 1.0], []]).to(dtype=F64)
MU, SD = 0.4, 2.5
HOW = {"transitions": 20, "leapfrogs": 4, "step_size": 0.3}


def model(tasks):
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, SD))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=phi), obs=tasks.y)


def noise(tasks):
    return TaskNoise(torch.Generator().manual_seed(0), tasks)


@pytest.fixture(scope="module")
def conditional():
    return Conditional(Density(read(model, TASKS)), TASKS, jacobian=True, curvature=Hessian())


@pytest.fixture(scope="module")
def exact():
    """Mean, sd and mode of each task's phi on a fine grid."""
    grid = torch.linspace(-25, 30, 200_001, dtype=F64)
    rows = []
    for ones, zeros in ((2, 0), (2, 1), (0, 0)):
        log_density = torch.distributions.Normal(MU, SD).log_prob(grid)
        log_density = log_density + ones * torch.nn.functional.logsigmoid(grid)
        log_density = log_density + zeros * torch.nn.functional.logsigmoid(-grid)
        weight = torch.softmax(log_density, 0)
        mean = (weight * grid).sum()
        sd = (weight * (grid - mean) ** 2).sum().sqrt()
        rows.append(torch.stack([mean, sd, grid[log_density.argmax()]]))
    return torch.stack(rows, 1)


def test_mode_is_the_grids(conditional, exact):
    mode = find_mode(conditional, torch.tensor([[MU]], dtype=F64))
    assert torch.allclose(mode.phi[0, :, 0], exact[2], atol=5e-4)


def test_draws_have_the_moments_of_quadrature_and_laplace_has_not(conditional, exact):
    theta = torch.full((8000, 1), MU, dtype=F64)
    phi, acceptance = draw_conditional(conditional, theta, noise(conditional.tasks), **HOW)
    mean, sd = phi[..., 0].mean(0), phi[..., 0].std(0)
    error = (mean - exact[0]).abs() / (exact[1] / 8000**0.5)
    assert error.max() < 4
    assert (sd / exact[1] - 1).abs().max() < 0.04
    assert acceptance.min() > 0.8
    # The negative control: the Laplace approximation that the draws start from fails.
    mode = find_mode(conditional, theta[:1])
    laplace = (mode.phi[0, :, 0] - exact[0]).abs() / (exact[1] / 8000**0.5)
    assert laplace.max() > 4


def test_an_empty_task_has_its_prior_given_theta(conditional, exact):
    assert exact[0, 2] == pytest.approx(MU, abs=1e-3)
    assert exact[1, 2] == pytest.approx(SD, abs=1e-3)


@pytest.mark.parametrize("family", [dist.Cauchy, lambda loc, scale: dist.HalfCauchy(loc.exp())])
def test_a_prior_without_a_mean_starts_from_its_median(family):
    """Not from NaN, which would give draws of NaN without a word."""

    def heavy(tasks):
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", family(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 0.1), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.full((2, 20), 1.5, dtype=F64))
    density = Density(read(heavy, tasks))
    found = Conditional(density, tasks, jacobian=True, curvature=Hessian())
    theta = torch.zeros(500, 1, dtype=F64)
    phi, _ = draw_conditional(found, theta, noise(tasks), **HOW)
    values = density.constrain(theta[0], phi.mean(0), tasks)["phi"]
    assert torch.allclose(values, torch.full((2,), 1.5, dtype=F64), atol=0.02)


def test_each_draw_of_theta_gets_its_own_phi(conditional):
    theta = torch.tensor([[-3.0], [3.0]], dtype=F64)
    mode = find_mode(conditional, theta).phi[..., 0]
    assert mode[0, 2] == pytest.approx(-3.0) and mode[1, 2] == pytest.approx(3.0)
