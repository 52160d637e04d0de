"""Chains that begin at draws of phi that are given, against quadrature; where these are no good."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.task_level import conditional_draws
from bayesmeta.task_level.conditional_draws import draw_conditional
from bayesmeta.task_level.conditional_graphs import Conditional
from bayesmeta.task_level.curvature import Hessian
from bayesmeta.task_level.scored_density import by_scores
from bayesmeta.task_level.two_starts import most_rhat, rhat_of_starts

F64 = torch.float64
DRAWS = 1000
TIMES = torch.linspace(0, 4, 20, dtype=F64)
GRID = torch.linspace(-12, 24, 100_001, dtype=F64)
# Few: what chains reach in more of them is not what is asked.
HOW = {"transitions": 4, "leapfrogs": 4, "step_size": 0.3}


def wave(tasks: bm.Tasks) -> None:
    """A frequency, whose posterior is narrow and among many lower modes."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(torch.tensor(6.0, dtype=F64), 2.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(torch.sin(phi * tasks.x["t"]), 0.2), obs=tasks.y)


def hills(tasks: bm.Tasks) -> None:
    """Two modes of unequal mass."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(torch.tensor(0.5, dtype=F64), 1.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi.abs(), 0.3), obs=tasks.y)


def waves() -> tuple[bm.Tasks, Tensor]:
    """Data of frequencies that the search for a mode from the prior's mean, 6, does not find."""
    phi = torch.tensor([[3.0], [9.5]], dtype=F64)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 20, generator=generator, dtype=F64)
    y = torch.sin(phi * TIMES) + 0.2 * noise
    return bm.Tasks.from_arrays(y, {"t": TIMES.expand(2, 20)}), phi


def quadrature(tasks: bm.Tasks) -> tuple[Tensor, Tensor]:
    """Mean and sd of phi of `wave`, (tasks,)."""
    fit = dist.Normal(torch.sin(GRID[:, None] * TIMES), 0.2)
    log_p = torch.stack([fit.log_prob(y).sum(1) for y in tasks.y], 1)
    weights = (log_p + dist.Normal(6.0, 2.0).log_prob(GRID)[:, None]).softmax(0)
    mean = (weights * GRID[:, None]).sum(0)
    return mean, (weights * (GRID[:, None] - mean).square()).sum(0).sqrt()


def draws(
    model: Callable[[bm.Tasks], None], tasks: bm.Tasks, start: Tensor | None, *, is_point: bool
) -> Tensor:
    """phi (draws, tasks) of chains that start at phi, (draws, tasks)."""
    density = by_scores(Density(read(model, tasks)), tasks)
    found = Conditional(density, tasks, jacobian=True, curvature=Hessian())
    theta = torch.zeros(DRAWS, 0, dtype=F64)
    middle, sd = (6.0, 2.0) if model is wave else (0.5, 1.5)
    z = None if start is None else ((start - middle) / sd)[..., None]
    noise = TaskNoise(torch.Generator().manual_seed(0), tasks)
    phi, _ = draw_conditional(found, theta, noise, **HOW, is_point=is_point, start=z)
    return middle + sd * phi[..., 0]


def around(phi: Tensor, sd: float) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return phi[:, 0] + sd * torch.randn(DRAWS, len(phi), generator=generator, dtype=F64)


@pytest.mark.parametrize("is_point", [True, False])
def test_where_the_search_for_a_mode_fails_they_find_the_posterior(is_point: bool) -> None:
    tasks, phi = waves()
    mean, sd = quadrature(tasks)
    assert (sd < 0.05).all()
    found = draws(wave, tasks, around(phi, 0.05), is_point=is_point)[::2]
    assert ((found.mean(0) - mean) / sd).abs().max() < 0.2
    assert (found.std(0) / sd - 1).abs().max() < 0.15
    # The control: from the mode.
    old = draws(wave, tasks, None, is_point=is_point)[::2]
    assert ((old.mean(0) - mean) / sd).abs().min() > 3


@pytest.mark.parametrize("is_point", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e200])
def test_starts_that_are_impossible_are_as_if_none_were_given(bad: float, is_point: bool) -> None:
    tasks, phi = waves()
    old = draws(wave, tasks, None, is_point=is_point)
    nowhere = torch.full((DRAWS, 2), bad, dtype=F64)
    assert torch.equal(draws(wave, tasks, nowhere, is_point=is_point), old)
    # Of one task alone.
    start = around(phi, 0.05)
    start[:, 1] = bad
    found = draws(wave, tasks, start, is_point=is_point)
    assert torch.equal(found[:, 1], old[:, 1]) and not torch.equal(found[:, 0], old[:, 0])


@pytest.mark.parametrize("is_point", [True, False])
def test_starts_at_a_mode_of_no_mass_are_left(
    is_point: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the search from the prior's mean finds another one with more."""
    tasks = bm.Tasks.from_arrays(torch.sin(6.1 * TIMES)[None], {"t": TIMES[None]})
    away = around(torch.tensor([[9.0]], dtype=F64), 0.01)
    mean, sd = quadrature(tasks)
    found = draws(wave, tasks, away, is_point=is_point)[::2]
    assert (found - mean).abs().max() < 6 * sd[0]
    # The control: were they not, chains would stay there.
    monkeypatch.setattr(conditional_draws, "_LOST", torch.inf)
    stuck = draws(wave, tasks, away, is_point=is_point)[::2]
    assert ((stuck - mean).abs() > 1).double().mean() > 0.2


def test_r_hat_tells_starts_that_miss_a_mode() -> None:
    tasks = bm.Tasks.from_arrays(torch.full((1, 4), 0.8, dtype=F64))
    log_p = dist.Normal(0.5, 1.5).log_prob(GRID) + 4 * dist.Normal(0.8, 0.3).log_prob(GRID.abs())
    share = float(log_p.softmax(0)[GRID < 0].sum())
    generator = torch.Generator().manual_seed(1)
    sign = torch.where(torch.rand(DRAWS, 1, generator=generator) < share, -1.0, 1.0)
    start = sign * around(torch.full((1, 1), 0.8, dtype=F64), 0.15)
    both = draws(hills, tasks, start, is_point=True)
    most = most_rhat(DRAWS, 1)
    assert float((both < 0).double().mean()) == pytest.approx(share, abs=0.05)
    assert float(rhat_of_starts(both[..., None])[0]) < most
    one = draws(hills, tasks, start.abs(), is_point=True)
    assert float(rhat_of_starts(one[..., None])[0]) > most
