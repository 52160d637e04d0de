"""What the priors say of each draw, against densities written by hand, and free real numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

import bayesmeta as bm
from bayesmeta.draws.draws import Draws
from bayesmeta.models import eight_schools
from bayesmeta.phi import Joint
from bayesmeta.posterior import arviz as conversion
from bayesmeta.posterior.log_priors import log_priors, unconstrained
from bayesmeta.theta.base import Fit

SHAPE = (3, 4)


def model(tasks: bm.Tasks) -> None:
    """Theta of several supports, a weighted one, and phi with events, in a plate, of datapoints."""
    with pyro.plate("feature", 2, dim=-3):
        weight = pyro.sample("weight", dist.Normal(1.0, 2.0))
    with pyro.poutine.scale(scale=3.0):
        tau = pyro.sample("tau", dist.HalfNormal(1.5))
    share = pyro.sample("share", dist.Dirichlet(torch.ones(3)))
    free = pyro.param("free", lambda: torch.zeros(()))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        slope = pyro.sample("slope", dist.Normal(weight[:, 0, 0], tau).to_event(1))
        with pyro.plate("group", 2, dim=-3):
            rate = pyro.sample("rate", dist.Gamma(2.0, 1 + tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            error = pyro.sample("error", dist.Normal(0.0, tau))
            mean = slope.sum(-1) + rate.sum(-3) + share[0] + error + free
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def chains(drawn: bm.Posterior, noncentred: tuple[str, ...]) -> Draws:
    """Draws of the prior as chains, sampled as loc + scale * u where asked."""
    old, density = drawn.density, drawn.density.noncentre(noncentred)
    pairs = [
        density.unconstrain(old.constrain(theta, phi, drawn.tasks), drawn.tasks)
        for theta, phi in zip(drawn.fit.theta[0], drawn.fit.phi[0], strict=True)
    ]
    theta, phi = (torch.stack(x).unflatten(0, SHAPE) for x in zip(*pairs, strict=True))
    return Draws(Fit(density, drawn.tasks, theta, phi), Joint(), is_point=False, seed=0)


@pytest.fixture(scope="module")
def drawn() -> bm.Posterior:
    tasks = bm.Tasks.from_list([np.array(y) for y in ([0.0, 1.0], [2.0], [])], names=list("abc"))
    return bm.prior(model, tasks, draws=12, seed=3)


@pytest.fixture(scope="module", params=[(), ("weight", "slope", "error")], ids=["as is", "by u"])
def draws(request: pytest.FixtureRequest, drawn: bm.Posterior) -> Draws:
    return chains(drawn, request.param)


def by_hand(draws: Draws) -> dict[str, np.ndarray]:
    x = {name: value.numpy() for name, value in draws.values.items()}
    weight, tau = x["weight"][..., 0, 0], x["tau"]
    wide = tau[..., None, None]
    return {
        "weight": stats.norm(1, 2).logpdf(weight).sum(-1),
        "tau": 3 * stats.halfnorm(scale=1.5).logpdf(tau),
        "share": np.full(SHAPE, np.log(2.0)),
        "slope": stats.norm(weight[:, :, None], wide).logpdf(x["slope"]).sum(-1),
        "rate": stats.gamma(2, scale=1 / (1 + wide)).logpdf(x["rate"]).sum(-1),
        "error": np.nansum(stats.norm(0, wide).logpdf(x["error"]), -1),
    }


def test_priors_are_of_the_values_however_they_were_sampled(draws: Draws) -> None:
    found, expected = log_priors(draws), by_hand(draws)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-9, atol=1e-9)
    # The control: a density with the Jacobian of exp in it is another.
    assert not np.allclose(found["tau"] + 3 * draws.values["tau"].log(), expected["tau"])


def test_free_numbers_are_those_of_each_site(draws: Draws) -> None:
    found, x = unconstrained(draws), draws.values
    shapes = {name: tuple(value.shape[2:]) for name, value in found.items()}
    assert shapes == {
        **{"weight": (2, 1, 1), "tau": (), "share": (2,), "free": ()},
        **{"slope": (3, 2), "rate": (3, 2)},
    }
    for name in ("weight", "slope"):
        torch.testing.assert_close(found[name], x[name])
    for name in ("tau", "rate"):
        torch.testing.assert_close(found[name].exp(), x[name])
    onto = torch.distributions.biject_to(dist.constraints.simplex)
    torch.testing.assert_close(onto(found["share"]), x["share"])


def test_groups_have_the_dims_of_the_posterior(draws: Draws) -> None:
    found = conversion.groups(draws)
    prior, free = found["log_prior"], found["unconstrained_posterior"]
    assert prior["tau"].dims == ("chain", "draw")
    assert prior["rate"].dims == ("chain", "draw", "tasks") and "free" not in prior
    assert free["rate"].dims == ("chain", "draw", "tasks", "group")
    assert free["weight"].dims == ("chain", "draw", "feature")
    for group in (prior, free):
        assert group["tasks"].values.tolist() == ["a", "b", "c"]


def test_discrete_latents_of_tasks_have_their_chances() -> None:
    def mixed(tasks: bm.Tasks) -> None:
        share = pyro.sample("share", dist.Beta(2.0, 2.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            z = pyro.sample("z", dist.Bernoulli(share))
            phi = pyro.sample("phi", dist.Normal(4 * z, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    draws = bm.prior(mixed, bm.Tasks.from_arrays(torch.zeros(3, 2)), draws=8).draws
    found, values = log_priors(draws), draws.values
    share, z = values["share"][..., None], draws.computed_phi["z"]
    assert 0 < z.mean() < 1
    torch.testing.assert_close(found["z"], torch.where(z > 0, share.log(), (1 - share).log()))
    torch.testing.assert_close(found["phi"], dist.Normal(4 * z, 1.0).log_prob(values["phi"]))


def test_arviz_0_scales_powers_and_finds_loo_pit() -> None:
    az = conversion.classic()
    if az is None:
        pytest.skip("no ArviZ before 1.0 is installed")
    post = bm.fit(
        eight_schools.model,
        eight_schools.tasks(),
        theta=bm.Importance(draws=1000),
        phi=bm.Exact(),
        progress=False,
    )
    data = post.to_arviz()
    moved = az.psens(data, component="prior", component_var_names=["mu", "tau"])
    assert float(moved["tau"]) > 0.1
    # The control: phi's population beside the hyperpriors is another question.
    assert abs(float(az.psens(data, component="prior")["tau"]) - float(moved["tau"])) > 0.1
    places = az.loo_pit(data, y="y")
    assert places.shape == (8,) and 0.05 < places.mean() < 0.95
    # Each school by all others: A, the best, is in the upper half, and C, the worst, in the lower.
    assert places[0] > 0.5 > places[2]
    one = replace(post.draws.fit, theta=post.draws.fit.theta[:, :1])
    assert conversion.groups(replace(post.draws, fit=one))["log_prior"]["mu"].shape == (1, 1)
