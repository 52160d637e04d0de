"""Draws around a mode, corrected by importance weights, against closed forms and quadrature."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means
from bayesmeta.task_level import corrected_draws
from bayesmeta.training.loop import TrainingError

N = torch.tensor([[6.0], [4.0], [12.0]], dtype=torch.float64)
Y = torch.tensor([[0.0], [4.0], [5.0]], dtype=torch.float64)
COUNTS = bm.Tasks.from_arrays(Y, x={"n": N})
A, B = 0.4, 0.8
LEAST = bm.Tasks.from_list([[3.0, 2.2, 5.0], [0.7, 0.9]]).to(dtype=torch.float64)
STRATEGIES = [bm.Laplace(draws=4000), bm.HMC(draws=4000)]


def beta(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        p = pyro.sample("p", dist.Beta(A, B))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Binomial(tasks.x["n"], p), obs=tasks.y)


def minimum(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        b = pyro.sample("b", dist.Normal(0.0, 2.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            base = dist.Exponential(torch.ones(tasks.num_tasks, 1))
            move = torch.distributions.transforms.AffineTransform(b, 1.0)
            pyro.sample("y", dist.TransformedDistribution(base, [move]), obs=tasks.y)


def assert_beta(phi: bm.Laplace | bm.HMC) -> None:
    post = bm.fit(beta, COUNTS, theta=bm.Fixed({}), phi=phi, progress=False)
    draws, exact = post.phi["p"][0], torch.distributions.Beta(A + Y, B + N - Y)
    mean, sd = exact.mean[:, 0], exact.stddev[:, 0]
    # Of 4,000 draws, picked with weights that make them as good as 1,000.
    assert ((draws.mean(0) - mean).abs() < 4 * sd / 1000**0.5).all()
    assert ((draws.std(0) / sd - 1).abs() < 0.1).all()


@pytest.mark.parametrize("phi", STRATEGIES)
def test_a_share_is_betas_own_posterior(phi: bm.Laplace | bm.HMC) -> None:
    assert_beta(phi)


def test_negative_control_uncorrected_draws_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrected_draws, "are_normal", lambda *given: torch.tensor(True))
    with pytest.raises(AssertionError):
        assert_beta(bm.Laplace(draws=4000))


@pytest.mark.parametrize("phi", STRATEGIES)
def test_a_mode_on_an_edge(phi: bm.Laplace | bm.HMC) -> None:
    """b has the density of N(4 n, 4) below the least datapoint: quadrature."""
    post = bm.fit(minimum, LEAST, theta=bm.Fixed({}), phi=phi, progress=False)
    draws = post.phi["b"][0]
    for i, (least, n) in enumerate([(2.2, 3), (0.7, 2)]):
        grid = torch.linspace(-12.0, least, 200_001, dtype=torch.float64)
        share = (-(grid**2) / 8 + n * grid).softmax(0)
        mean = (share * grid).sum()
        sd = (share * (grid - mean) ** 2).sum().sqrt()
        assert (draws[:, i] <= least).all()
        assert (draws[:, i].mean() - mean).abs() < 4 * sd / 1000**0.5
        assert (draws[:, i].std() / sd - 1).abs() < 0.1
    assert "impossible" not in str(post.diagnose())


def test_normal_draws_are_what_they_were() -> None:
    tasks = normal_means.tasks(num_tasks=4, num_data=3)
    known = bm.Fixed({"mu": torch.tensor(0.3)})
    post = bm.fit(normal_means.model, tasks, theta=known, phi=bm.Laplace(), progress=False)
    exact = bm.fit(normal_means.model, tasks, theta=known, phi=bm.Exact(), progress=False)
    assert torch.allclose(post.phi["phi"], exact.phi["phi"])
    assert post.log_weights is None
    assert not post.diagnose().pareto_k


def test_pareto_k_tells_of_a_tail_that_is_longer() -> None:
    post = bm.fit(beta, COUNTS, theta=bm.Fixed({}), phi=bm.Laplace(), progress=False)
    k = post.diagnose().pareto_k
    assert list(k) == list(COUNTS.names)
    # A count of none leaves a tail of exp(0.4 u); five of twelve are nearly normal.
    assert k["0"] > k["2"]
    assert k["2"] < 0.5


def test_theta_by_a_mode_on_an_edge_is_announced() -> None:
    def learned(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            b = pyro.sample("b", dist.LogNormal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Pareto(b, torch.tensor(2.0)), obs=tasks.y)

    point = bm.Point(adam=bm.Adam(steps=2, compile=False))
    words = "the support of site 'y' has an edge at 'b'"
    # The expansion at the edge leads over it.
    with pytest.warns(UserWarning, match=words), pytest.raises(TrainingError, match="loss is inf"):
        bm.fit(learned, LEAST, theta=point, phi=bm.Laplace(), progress=False)
