"""Hills by searches from draws of the prior, and their masses: against quadrature."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.hills import masses_of, search_hills
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read

Y = [[1.2, 0.8], [3.1, 2.2, 2.9], [0.1], [4.2, 3.6, 4.1, 3.9], [-0.4, 0.2]]
TASKS = bm.Tasks.from_list(Y, names=list("abcde")).to(dtype=torch.float64)
MU, TAU = 0.4, 1.5


def of_mean(mean: Callable[[Tensor], Tensor], outcome=lambda m: dist.Normal(m, 0.7)):
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, TAU))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", outcome(mean(phi)), obs=tasks.y)

    return model


LINEAR = of_mean(lambda phi: phi)
SQUARE = of_mean(lambda phi: phi.square())
BENT = of_mean(lambda phi: 3 * torch.sin(2 * phi))
FAR = of_mean(lambda phi: phi, lambda m: dist.Cauchy(m, 0.1))


def by_quadrature(mean: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and sd of phi_i, (tasks,)."""
    grid = torch.linspace(-12, 12, 40001, dtype=torch.float64)
    prior = dist.Normal(torch.tensor(MU).double(), TAU).log_prob(grid)
    each = [
        prior + sum(dist.Normal(mean(grid), 0.7).log_prob(torch.tensor(v).double()) for v in y)
        for y in Y
    ]
    share = torch.stack(each).softmax(1)
    first, second = share @ grid, share @ grid.square()
    return first, (second - first.square()).sqrt()


def found(model, tasks: bm.Tasks = TASKS, starts: int = 24, draws: int = 2):
    density = Density(read(model, tasks))
    theta = torch.full((draws, 1), MU, dtype=torch.float64)
    hills = search_hills(density, theta, tasks, starts, seed=0)
    return hills, masses_of(hills, theta, TaskNoise(torch.Generator().manual_seed(0), tasks))


def test_one_hill_is_one() -> None:
    hills, masses = found(LINEAR)
    assert ((hills.log_mass > -torch.inf).sum(1) == 1).all()
    assert torch.equal(masses.missed, torch.zeros(2, 5).double())


@pytest.mark.parametrize(
    ("model", "mean"),
    [(SQUARE, lambda phi: phi.square()), (BENT, lambda phi: 3 * torch.sin(2 * phi))],
)
def test_moments_are_those_of_all_hills(model, mean) -> None:
    hills, masses = found(model, starts=60, draws=40)
    right, sd = by_quadrature(mean)
    assert int((hills.log_mass > -torch.inf).sum(1).max()) > 1
    mean, square = masses.mean[..., 0].mean(0), (masses.sd**2 + masses.mean**2)[..., 0].mean(0)
    assert ((mean - right) / sd).abs().max() < 0.1
    assert ((square - mean**2).sqrt() / sd).log().abs().max() < 0.05
    # The hill that the usual search ends at has another mean.
    assert ((hills.phi[:, 0, :, 0] - right) / sd).abs().max() > 0.5


def test_two_datapoints_far_apart_are_two_hills() -> None:
    tasks = bm.Tasks.from_list([[-2.0, 2.5], [0.0, 0.1]]).to(dtype=torch.float64)
    hills, masses = found(FAR, tasks)
    assert (hills.log_mass > -torch.inf).sum(1).tolist() == [[2, 1]] * 2
    assert 0.2 < float(masses.missed[0, 0]) < 0.8 and float(masses.missed[0, 1]) == 0.0
