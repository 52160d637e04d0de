"""Censored outcomes: SciPy's tails, derivatives, and an integral by hand."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import bayesmeta as bm

LOWER, UPPER = 1.1, 2.5
FAMILIES = {
    "Normal": (dist.Normal(0.4, 0.9), stats.norm(0.4, 0.9)),
    "LogNormal": (dist.LogNormal(0.2, 0.5), stats.lognorm(0.5, scale=np.exp(0.2))),
    "Weibull": (dist.Weibull(1.3, 1.7), stats.weibull_min(1.7, scale=1.3)),
    "Exponential": (dist.Exponential(2.0), stats.expon(scale=0.5)),
    "Gumbel": (dist.Gumbel(0.3, 1.2), stats.gumbel_r(0.3, 1.2)),
    "HalfNormal": (dist.HalfNormal(1.4), stats.halfnorm(scale=1.4)),
    "Gamma": (dist.Gamma(2.0, 3.0), stats.gamma(2.0, scale=1 / 3)),
    "Laplace": (dist.Laplace(0.1, 0.8), stats.laplace(0.1, 0.8)),
    "falling": (
        dist.TransformedDistribution(
            dist.Normal(0.0, 1.0), [torch.distributions.AffineTransform(2.0, -0.5)]
        ),
        stats.norm(2.0, 0.5),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_and_distribution_functions_are_those_of_scipy(family: str) -> None:
    fn, right = FAMILIES[family]
    censored = bm.Censored(fn, LOWER, UPPER)
    y = torch.tensor([LOWER, 1.7, UPPER])
    expected = [right.logcdf(LOWER), right.logpdf(1.7), right.logsf(UPPER)]
    assert np.allclose(censored.log_prob(y), expected, rtol=1e-4)
    assert torch.equal(censored.log_prob(torch.tensor([1.0, 3.0])), torch.full((2,), -torch.inf))
    values = torch.tensor([0.9, LOWER, 1.7, UPPER, 3.0])
    assert np.allclose(censored.cdf(values), [0, right.cdf(LOWER), right.cdf(1.7), 1, 1], rtol=1e-4)
    drawn = fn.sample((4000,)) if family == "Gamma" else censored.sample((4000,))
    share = (drawn <= LOWER).float().mean()
    assert abs(share - right.cdf(LOWER)) < 0.03


def test_far_tails_and_their_slopes_are_finite() -> None:
    loc = torch.tensor([0.0, 60.0], dtype=torch.float64, requires_grad=True)
    value = bm.Censored(dist.Normal(loc, 1.0), upper=30.0).log_prob(torch.tensor([30.0, 30.0]))
    assert np.allclose(value.detach(), stats.norm.logsf([30, -30]))
    (slope,) = torch.autograd.grad(value.sum(), loc)
    assert np.allclose(slope, [np.exp(stats.norm.logpdf(30) - stats.norm.logsf(30)), 0])


def model(tasks: bm.Tasks) -> None:
    """Lengths of which a ruler shows no more than its own."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Normal(20.0, 10.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", bm.Censored(dist.Normal(a, 7.0), upper=tasks.x["ruler"]), obs=tasks.y)


Y = np.array([[30.0, 28.0, 30.0, 12.0], [5.0, 9.0, 30.0, 2.0]])
TASKS = bm.Tasks.from_arrays(Y, {"ruler": np.full((2, 4), 30.0)})


def by_quadrature(task: int) -> tuple[float, np.ndarray]:
    """The posterior mean of a, and log scores of each row."""
    a = np.linspace(-40, 80, 4001)
    at = stats.norm(a[:, None], 7.0)
    each = np.where(Y[task] == 30, at.logsf(30.0), at.logpdf(Y[task]))
    weight = stats.norm(20, 10).pdf(a) * np.exp(each.sum(1))
    weight /= weight.sum()
    return weight @ a, np.log(weight @ np.exp(each))


@pytest.mark.parametrize("phi", [bm.Laplace(draws=20_000, particles=64), bm.HMC(draws=4000)])
def test_phi_and_scores_are_those_of_quadrature(phi: bm.Phi) -> None:
    post = bm.fit(model, TASKS, theta=bm.Fixed({}), phi=phi, progress=False)
    for task in (0, 1):
        mean, score = by_quadrature(task)
        assert post.phi["a"][..., task].mean() == pytest.approx(mean, abs=0.35)
        assert np.allclose(post.log_score()[task], score, atol=0.03)
    assert post.predict().draws.max() == 30.0
    ignoring = bm.Tasks.from_arrays(Y, {"ruler": np.full((2, 4), 1e6)})
    other = bm.fit(model, ignoring, theta=bm.Fixed({}), phi=phi, progress=False)
    assert abs(other.phi["a"][..., 0].mean() - by_quadrature(0)[0]) > 2


def test_predictions_have_the_moments_of_the_draws() -> None:
    post = bm.fit(model, TASKS, theta=bm.Fixed({}), phi=bm.Laplace(draws=4000), progress=False)
    found = post.predict()
    drawn = found.draws.flatten(0, 1)
    assert torch.allclose(found.mean, drawn.mean(0), atol=0.5)
    assert torch.allclose(found.sd, drawn.std(0), rtol=0.08)


def test_what_has_no_distribution_function_is_refused() -> None:
    with pytest.raises(ValueError, match="distribution function of StudentT"):
        bm.Censored(dist.StudentT(3.0), upper=1.0)
    with pytest.raises(ValueError, match=r"MultivariateNormal has event shape \(2,\)"):
        bm.Censored(dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))


ENDS = np.random.default_rng(4).uniform(5.0, 30.0, (3, 40))
DAYS = np.minimum(np.random.default_rng(5).exponential(12.0, (3, 40)), ENDS)


def survival(tasks: bm.Tasks) -> None:
    """Times until the end of what was followed."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        rate = pyro.sample("rate", dist.LogNormal(-2.5, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            ends = tasks.x["followed"]
            pyro.sample("days", bm.Censored(dist.Exponential(rate), upper=ends), obs=tasks.y)


def rates(days: np.ndarray) -> tuple[torch.Tensor, str]:
    tasks = bm.Tasks.from_arrays(days, {"followed": ENDS}, names=list("abc"))
    post = bm.fit(survival, tasks, theta=bm.Fixed({}), phi=bm.Mode(), progress=False)
    return post.phi["rate"][0, 0], " ".join(post.notes)


def test_a_limit_that_was_computed_in_another_way_is_reached() -> None:
    censored = int((DAYS == ENDS).sum())
    right, said = rates(DAYS)
    assert f"days: {censored} of 120 finite limits are reached" in said
    for other in (DAYS / 365.25 * 365.25, np.where(DAYS == ENDS, ENDS * (1 + 1e-15), DAYS)):
        found, said = rates(other)
        assert f"{censored} of 120" in said
        assert torch.allclose(found, right, rtol=1e-6)


def test_whole_days_below_their_limits_are_loud() -> None:
    right, _ = rates(DAYS)
    found, said = rates(np.floor(DAYS))
    assert "0 of 120 finite limits are reached" in said and "give y at its limit" in said
    assert (found > 1.1 * right).all()


def test_an_outcome_beyond_its_limit_names_the_limit_of_its_cell() -> None:
    days = DAYS.copy()
    days[1, 2] = 99.0
    with pytest.raises(
        bm.StructureError, match=rf"99.0 at task 'b', row 2 .* to {ENDS[1, 2]:g} there"
    ):
        rates(days)
