"""What diagnose says of hills of phi that a fit misses; and nothing where there is one hill."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.posterior.hill_checks import about_hills
from tests.hills.test_searches import BENT, FAR, LINEAR, MU, SQUARE, TASKS

KNOWN = bm.Fixed({"mu": torch.tensor(MU)})


def said(model, tasks: bm.Tasks = TASKS, **pair) -> str:
    given = {"theta": KNOWN, **pair}
    post = bm.fit(model, tasks, **given, progress=False)
    return "\n".join(about_hills(post.draws))


@pytest.mark.parametrize("model", [SQUARE, BENT])
def test_laplace_says_which_tasks_have_hills_that_it_misses(model) -> None:
    words = said(model, phi=bm.Laplace())
    assert "hills that phi=bm.Laplace() does not see" in words and "d (" in words
    assert "discrete latent of the task" in words


PAIRS = {
    "Laplace": {"phi": bm.Laplace()},
    "Mode": {"phi": bm.Mode()},
    "HMC": {"phi": bm.HMC(draws=400)},
    "Gaussian": {"theta": bm.Gaussian(adam=bm.Adam(steps=100)), "phi": bm.Joint()},
    "Point": {"theta": bm.Point(), "phi": bm.Laplace()},
}


@pytest.mark.parametrize("pair", PAIRS)
def test_nothing_is_said_of_one_hill(pair: str) -> None:
    assert said(LINEAR, **PAIRS[pair]) == ""


def test_two_datapoints_far_apart_are_told() -> None:
    tasks = bm.Tasks.from_list([[-2.0, 2.5], [0.0, 0.1]], names=["apart", "near"])
    words = said(FAR, tasks, phi=bm.Laplace())
    assert "apart (" in words and "near (" not in words


def test_a_gaussian_of_theta_and_phi_at_one_of_two_hills_is_told() -> None:
    theta = bm.Gaussian(adam=bm.Adam(steps=400))
    words = said(BENT, theta=theta, phi=bm.Joint())
    assert "have them by other shares" in words


def test_draws_of_all_hills_are_not_told_and_those_of_one_are() -> None:
    post = bm.fit(BENT, TASKS, theta=KNOWN, phi=bm.HMC(draws=1000), progress=False)
    for stays in (False, True):
        draws = exact(stays=stays)
        post.draws.__dict__["free_phi"] = draws[None, :, :, None]
        words = about_hills(post.draws)
        assert bool(words) is stays
    assert "such tasks looked at" in words[0]


def exact(*, stays: bool) -> torch.Tensor:
    """Independent draws of BENT by quadrature, (draws, tasks); where they stay, above 0 alone."""
    grid = torch.linspace(-8, 8, 20001, dtype=torch.float64)
    prior = dist.Normal(torch.tensor(MU).double(), 1.5).log_prob(grid)
    each = [
        prior + dist.Normal(3 * torch.sin(2 * grid), 0.7).log_prob(y[m][:, None]).sum(0)
        for y, m in zip(TASKS.y, TASKS.mask, strict=True)
    ]
    share = torch.stack(each).softmax(1) * ((grid > 0) if stays else 1.0)
    generator = torch.Generator().manual_seed(3)
    return grid[torch.multinomial(share, 1000, replacement=True, generator=generator)].T


def test_kinds_that_are_summed_one_by_one_are_not_told() -> None:
    tasks = bm.Tasks.from_list([[1.5], [0.1, -0.2]], names=["between", "low"])
    assert said(kinds, tasks, theta=bm.Fixed({}), phi=bm.Laplace()) == ""
    # The same hills, without values to tell them apart.
    assert "between (" in said(mixture, tasks, theta=bm.Fixed({}), phi=bm.Laplace())


def kinds(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        phi = pyro.sample("phi", dist.Normal(3 * kind, 0.4))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def mixture(tasks: bm.Tasks) -> None:
    """The kinds of `kinds` summed by hand."""
    places = dist.Normal(torch.tensor([0.0, 3.0]), 0.4)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        prior = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), places)
        phi = pyro.sample("phi", prior)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)
