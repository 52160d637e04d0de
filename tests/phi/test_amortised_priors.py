"""A task without datapoints has its prior, whatever the prior is and whatever the network says."""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import OrderedTransform
from scipy import stats
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.prior import draw_prior_phi, theta_start
from bayesmeta.model.reading import read
from bayesmeta.phi import amortised
from bayesmeta.task_level import scored_density
from bayesmeta.task_level.scored_density import by_scores

TASKS = bm.Tasks.from_list([[], [1.0], [1.0, 2.0, 1.5]]).to(dtype=torch.float64)
DRAWS = 3000


def effect(phi: dict[str, Tensor]) -> Tensor:
    """Some number of them all, for outcomes to depend on."""
    return sum(x.reshape(*x.shape[:2], -1).sum(-1) for x in phi.values())


def model_of(prior: Callable[[], dict[str, Tensor]]) -> Callable[[bm.Tasks], None]:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            middle = effect(prior())
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(middle, 1.0), obs=tasks.y)

    return model


def one(name: str, fn: dist.Distribution) -> dict[str, Tensor]:
    return {name: pyro.sample(name, fn)}


def dependent() -> dict[str, Tensor]:
    a = pyro.sample("a", dist.Normal(0.0, 1.0))
    return {"a": a, "b": pyro.sample("b", dist.Normal(a, 0.1))}


def scale_and_effect() -> dict[str, Tensor]:
    s = pyro.sample("s", dist.LogNormal(0.0, 1.0))
    return {"s": s, "b": pyro.sample("b", dist.Normal(0.0, s))}


def three() -> dict[str, Tensor]:
    a = pyro.sample("a", dist.Normal(1.0, 2.0))
    b = pyro.sample("b", dist.Normal(-a, 0.5))
    return {"a": a, "b": b, "c": pyro.sample("c", dist.Gamma(2.0, b.exp()))}


def product() -> dict[str, Tensor]:
    a = pyro.sample("a", dist.Beta(2.0, 2.0))
    return {"a": a, "b": pyro.sample("b", dist.Beta(0.5 + 4 * a, 0.5 + 4 * (1 - a)))}


def covaried() -> dict[str, Tensor]:
    root = pyro.sample("root", dist.LKJCholesky(2, torch.tensor(1.0, dtype=torch.float64)))
    mean = torch.zeros(2, dtype=root.dtype)
    return {"w": pyro.sample("w", dist.MultivariateNormal(mean, scale_tril=root))}


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


PRIORS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "normal": lambda: one("phi", dist.Normal(1.0, 2.0)),
    "dependent": dependent,
    "scale and effect": scale_and_effect,
    "three": three,
    "beta of beta": product,
    "LKJ and normal": covaried,
    "Cauchy": lambda: one("phi", dist.Cauchy(1.0, 2.0)),
    "StudentT of 2": lambda: one("phi", dist.StudentT(2.0, 0.0, 1.0)),
    "Laplace": lambda: one("phi", dist.Laplace(0.0, 1.0)),
    "Gumbel": lambda: one("phi", dist.Gumbel(0.0, 1.0)),
    "Gamma": lambda: one("phi", dist.Gamma(0.5, 1.0)),
    "InverseGamma": lambda: one("phi", dist.InverseGamma(3.0, 2.0)),
    "Beta": lambda: one("phi", dist.Beta(0.3, 0.3)),
    "HalfCauchy": lambda: one("phi", dist.HalfCauchy(1.0)),
    "HalfNormal": lambda: one("phi", dist.HalfNormal(2.0)),
    "Exponential": lambda: one("phi", dist.Exponential(2.0)),
    "Uniform": lambda: one("phi", dist.Uniform(-1.0, 3.0)),
    "Dirichlet": lambda: one("phi", dist.Dirichlet(vector(0.5, 1.0, 2.0))),
    "ordered": lambda: one(
        "phi",
        dist.TransformedDistribution(
            dist.Normal(vector(-1.0, 0.0, 0.0), 1.0).to_event(1), [OrderedTransform()]
        ),
    ),
    "correlated": lambda: one(
        "phi",
        dist.MultivariateNormal(
            vector(1.0, -1.0),
            scale_tril=torch.tensor([[1.0, 0.0], [0.9, 0.2]], dtype=torch.float64),
        ),
    ),
    "sixty": lambda: one("phi", dist.Normal(torch.zeros(60).double(), 1.0).to_event(1)),
}


def trained_anyhow(phi: bm.Amortised, density: Density) -> list[Tensor]:
    """Networks whose weights are anything but those at the start, as training leaves them."""
    state = phi.start(density, TASKS)
    generator = torch.Generator().manual_seed(1)
    return [
        x + 0.3 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        if x.dim() == 1 and len(x) > 1000
        else x
        for x in state
    ]


def draws_of(phi: bm.Amortised, density: Density) -> Tensor:
    """Unconstrained phi of the task without data, (draws, d_phi)."""
    theta = theta_start(density, TASKS).expand(DRAWS, -1)
    generator = torch.Generator().manual_seed(2)
    state = trained_anyhow(phi, density)
    found = phi.infer(density, theta, TASKS, generator, is_point=True, state=state)
    return found[:, 0]


def of_the_prior(density: Density) -> Tensor:
    """The same by Pyro's own samplers."""
    pyro.set_rng_seed(3)
    theta, empty = theta_start(density, TASKS), TASKS.select(torch.zeros(DRAWS).long())
    return draw_prior_phi(density, theta, empty)


def chance_of_being_alike(found: Tensor, right: Tensor) -> float:
    """The smallest p of Kolmogorov and Smirnov, over coordinates and sums of two of them."""
    rank = [torch.asinh(x) for x in (found, right)]
    width = found.shape[1]
    pairs = [(j, k) for j in range(min(width, 4)) for k in range(j)]
    columns = [(x, y) for x, y in zip(*(r.T for r in rank), strict=True)]
    columns += [
        (rank[0][:, j] + s * rank[0][:, k], rank[1][:, j] + s * rank[1][:, k])
        for j, k in pairs
        for s in (-1, 1)
    ]
    return min(stats.ks_2samp(x.numpy(), y.numpy()).pvalue for x, y in columns) * len(columns)


@pytest.mark.parametrize("name", PRIORS)
def test_a_task_without_data_has_its_prior(name: str) -> None:
    density = Density(read(model_of(PRIORS[name]), TASKS))
    assert by_scores(density, TASKS).scored == set(density.structure.phi)
    phi = bm.Amortised(draws=DRAWS)
    assert chance_of_being_alike(draws_of(phi, density), of_the_prior(density)) > 1e-3


@pytest.mark.parametrize("guide", [bm.DiagonalNormal(), bm.FullNormal(), bm.SplineFlow()])
@pytest.mark.parametrize("name", ["dependent", "scale and effect", "three"])
def test_without_data_every_guide_is_standard_normal(name: str, guide: bm.Guide) -> None:
    density = Density(read(model_of(PRIORS[name]), TASKS))
    phi = bm.Amortised(guide=guide)
    state = trained_anyhow(phi, density)
    q = phi.posterior(density, theta_start(density, TASKS), [TASKS], state)
    z = torch.randn(50, 3, density.d_phi, dtype=torch.float64)
    normal = -(0.5 * z.square() + 0.5 * math.log(2 * math.pi)).sum(-1)
    log_q = q.log_prob(z)
    torch.testing.assert_close(log_q[:, 0], normal[:, 0], rtol=1e-8, atol=1e-8)
    assert (log_q[:, 2] - normal[:, 2]).abs().max() > 0.1


@pytest.mark.parametrize("name", ["dependent", "Gamma"])
def test_negative_control_by_a_normal_around_the_priors_middle_it_has_not(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scored_density, "_scorable", lambda density, tasks: [])
    monkeypatch.setattr(amortised, "with_prior_draws", lambda *given, **more: given[2])
    density = Density(read(model_of(PRIORS[name]), TASKS))
    phi = bm.Amortised(draws=DRAWS, candidates=1)
    assert chance_of_being_alike(draws_of(phi, density), of_the_prior(density)) < 1e-6
