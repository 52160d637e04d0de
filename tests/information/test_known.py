"""information of vague priors, many numbers, computed, discrete and local sites: closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.special import betaln, digamma

import bayesmeta as bm
from bayesmeta.information.normal_points import NORMAL

Y = torch.zeros(2, 3, dtype=torch.float64)
TASKS, SINGLE = bm.Tasks.from_arrays(Y), bm.Tasks.from_arrays(Y.float())


def of_theta(fn: Callable[[], Any]) -> Callable[[bm.Tasks], None]:
    def model(tasks: bm.Tasks) -> None:
        pyro.sample("w", fn())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    return model


@pytest.mark.parametrize("tasks", [TASKS, SINGLE], ids=["float64", "float32"])
@pytest.mark.parametrize(
    ("fn", "truth"),
    [
        (lambda: dist.Gamma(0.1, 0.1), stats.gamma(0.1, scale=10).entropy()),
        (lambda: dist.Gamma(0.01, 0.01), stats.gamma(0.01, scale=100).entropy()),
        (lambda: dist.Beta(0.1, 0.1), stats.beta(0.1, 0.1).entropy()),
        (lambda: dist.LogNormal(0.0, 20.0), NORMAL + math.log(20)),
        (lambda: dist.HalfCauchy(2.0), math.log(4 * math.pi)),
        (lambda: dist.InverseGamma(2.0, 1.0), stats.invgamma(2).entropy()),
    ],
    ids=["Gamma(.1)", "Gamma(.01)", "Beta", "LogNormal", "HalfCauchy", "InverseGamma"],
)
def test_vague_priors(fn: Callable[[], Any], truth: float, tasks: bm.Tasks) -> None:
    found = bm.information.entropy(bm.prior(of_theta(fn), tasks, draws=500), "w")
    assert abs(found.value - float(truth)) <= 3 * found.error < 0.3


def families() -> list[Any]:
    half, two = torch.tensor(0.5), torch.tensor([0.5, 2.0])
    return [
        dist.Normal(1.0, 2.0),
        dist.Gamma(half, 2.0),
        dist.Beta(half, 2.0),
        dist.StudentT(3.0, 0.0, 2.0),
        dist.Cauchy(0.0, 2.0),
        dist.HalfNormal(2.0),
        dist.Exponential(2.0),
        dist.Laplace(0.0, 2.0),
        dist.LogNormal(1.0, 0.5),
        dist.Uniform(-1.0, 2.0),
        dist.Gumbel(0.0, 2.0),
        dist.Weibull(2.0, 1.5),
        dist.Pareto(1.0, 3.0),
        dist.Kumaraswamy(2.0, 3.0),
        dist.Bernoulli(0.3),
        dist.Categorical(torch.tensor([0.2, 0.3, 0.5])),
        dist.Normal(torch.zeros(2), two).to_event(1),
        dist.MultivariateNormal(torch.zeros(2), torch.diag(two)),
    ]


@pytest.mark.parametrize("fn", families(), ids=lambda fn: type(fn).__name__)
def test_the_entropies_of_families_are_those_of_their_densities(fn: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        terms = -fn.log_prob(fn.sample((20_000,)))
    assert abs(fn.entropy() - terms.mean()) <= 4 * terms.std() / math.sqrt(len(terms)) + 1e-5


def test_phi_of_a_vague_theta_is_right_or_refused() -> None:
    def model(tasks: bm.Tasks) -> None:
        rate = pyro.sample("rate", dist.Gamma(2.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Gamma(shape, rate))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    shape = 0.1
    found = bm.information.entropy(bm.prior(model, SINGLE, draws=4000), "phi")
    # phi = g / rate with g ~ Gamma(.1, 1), rate ~ Gamma(2, 1): a beta prime.
    of_log, of_sum = digamma(0.1) - digamma(2), digamma(2.1) - digamma(2)
    truth = float(betaln(0.1, 2) + 0.9 * of_log + 2.1 * of_sum)
    assert ((found.value - truth).abs() < 3 * found.error).all() and found.error.max() < 0.5
    shape = 0.01
    with pytest.raises(ValueError, match=r"draws of phi have no density.*last of the floats"):
        bm.information.entropy(bm.prior(model, SINGLE, draws=1000), "phi")


def linked(d: int) -> Callable[[bm.Tasks], None]:
    def model(tasks: bm.Tasks) -> None:
        a = pyro.sample("a", dist.Normal(torch.zeros(d), 1.0).to_event(1))
        pyro.sample("b", dist.Normal(0.5 * a, math.sqrt(0.75)).to_event(1))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    return model


@pytest.mark.parametrize("d", [1, 4, 16])
def test_mutual_information_in_many_dimensions(d: int) -> None:
    prior = bm.prior(linked(d), TASKS, draws=4000)
    found = bm.information.mutual_information(prior, "a", "b")
    truth = -0.5 * d * math.log(0.75)
    assert abs(found.value - truth) < 2.5 * found.error and found.error < 0.05 * d
    # Both independent of phi, of which all is known.
    nothing = bm.information.mutual_information(prior, ["a", "b"], "phi")
    assert nothing.value.shape == (2,) and (nothing.value.abs() <= nothing.error).all()


def test_too_many_numbers_are_refused() -> None:
    prior = bm.prior(linked(17), TASKS, draws=2000)
    assert bm.information.entropy(prior, ["a", "b"]).value == pytest.approx(
        34 * NORMAL + 8.5 * math.log(0.75), abs=1e-9
    )
    with pytest.raises(bm.StructureError, match=r"b together are 17 numbers.*at most 16.*fewer"):
        bm.information.entropy(prior, "b")
    few = bm.prior(linked(12), TASKS, draws=1000)
    with pytest.raises(ValueError, match=r"1000 draws of b, 12 numbers.*100 for each"):
        bm.information.entropy(few, "b")


def computed(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    pyro.deterministic("size", mu.exp())
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        phi = pyro.deterministic("phi", mu + 2 * z)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_computed_sites_have_information_as_others() -> None:
    prior = bm.prior(computed, TASKS, draws=4000)
    entropy, told = bm.information.entropy, bm.information.mutual_information
    for found, truth in (
        (entropy(prior, "phi"), NORMAL + 0.5 * math.log(5)),
        (entropy(prior, "size"), NORMAL),
        (entropy(prior, ["mu", "phi"]), 2 * NORMAL + math.log(2)),
        (told(prior, "phi", "mu"), 0.5 * math.log(5 / 4)),
        (told(prior, "size", "phi"), 0.5 * math.log(5 / 4)),
    ):
        assert ((found.value - truth).abs() < 3 * found.error).all() and found.error.max() < 0.1
    for names in (["mu", "size"], ["mu", "z", "phi"]):
        with pytest.raises(bm.StructureError, match=r"'(size|phi)' is computed from mu"):
            entropy(prior, names)
    with pytest.raises(bm.StructureError, match="3 numbers that are computed from 2"):
        entropy(prior, ["z", "phi", "size"])
    with pytest.raises(bm.StructureError, match="'size' is computed from mu"):
        told(prior, "mu", "size")


def test_groups_are_understood_where_no_site_has_their_name() -> None:
    prior = bm.prior(computed, TASKS, draws=1000)
    theta = bm.information.entropy(prior, "theta")
    assert theta.value == pytest.approx(NORMAL) and theta.value.shape == ()
    # Here "phi" is a site, and z is all of the group.
    assert bm.information.entropy(prior, "phi").value.min() > NORMAL + 0.5
    vague = bm.prior(of_theta(lambda: dist.Gamma(0.1, 0.1)), TASKS, draws=500)
    both = bm.information.entropy(vague, ["theta", "phi"])
    assert both.value[0] == pytest.approx(NORMAL + float(stats.gamma(0.1, scale=10).entropy()))
    with pytest.raises(bm.StructureError, match=r"w is given twice in \['theta', 'w'\]"):
        bm.information.entropy(vague, ["theta", "w"])
    with pytest.raises(bm.StructureError, match=r"no site 'y' among.*w, phi.*all of a level"):
        bm.information.entropy(vague, "y")


def mixed(tasks: bm.Tasks) -> None:
    share = pyro.sample("share", dist.Beta(2.0, 2.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        kind = pyro.sample("kind", dist.Bernoulli(share))
        phi = pyro.sample("phi", dist.Normal(20.0 * kind, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def test_discrete_sites_have_the_entropy_of_their_states() -> None:
    prior = bm.prior(mixed, TASKS, draws=4000)
    kind = bm.information.entropy(prior, "kind")
    assert ((kind.value - math.log(2)).abs() < 3 * kind.error).all() and kind.error.max() < 0.01
    # Given the share, by quadrature.
    share = torch.linspace(0.0005, 0.9995, 1000, dtype=torch.float64)
    weights = dist.Beta(2.0, 2.0).log_prob(share).exp() / 1000
    given = float((dist.Bernoulli(share).entropy() * weights).sum())
    phi = bm.information.conditional_entropy(prior)
    assert ((phi.value - NORMAL - given).abs() < 4 * phi.error).all()
    whole = bm.information.entropy(prior, ["share", "kind", "phi"])
    truth = float(stats.beta(2, 2).entropy()) + given + NORMAL
    assert ((whole.value - truth).abs() < 4 * whole.error).all() and whole.error.max() < 0.05
    with pytest.raises(bm.StructureError, match=r"kind is discrete and phi is not"):
        bm.information.mutual_information(prior, "kind", "phi")


def local(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            z = pyro.sample("z", dist.Normal(phi, 0.5))
            pyro.sample("y", dist.Normal(z, 1.0), obs=tasks.y)


def test_latents_of_datapoints_are_those_of_the_data_there_is() -> None:
    tasks = bm.Tasks.from_arrays(Y, mask=torch.tensor([[True, True, True], [True, False, False]]))
    prior = bm.prior(local, tasks, draws=4000)
    sizes = tasks.sizes.double()
    given = bm.information.conditional_entropy(prior)
    assert torch.allclose(given.value, torch.full((2,), NORMAL, dtype=torch.float64))
    whole = bm.information.entropy(prior, ["mu", "phi", "z"])
    assert torch.allclose(whole.value, 2 * NORMAL + sizes * (NORMAL + math.log(0.5)))
    alone = bm.information.entropy(prior, "z")
    # Covariance 2 everywhere, and 1/4 more on the diagonal.
    truth = sizes * (NORMAL + math.log(0.5)) + 0.5 * (1 + 8 * sizes).log()
    assert ((alone.value - truth).abs() < 3 * alone.error).all() and alone.error.max() < 0.15


def test_a_fitted_density_of_theta_is_used() -> None:
    def model(tasks: bm.Tasks) -> None:
        loc = pyro.sample("loc", dist.Normal(torch.zeros(20), 1.0).to_event(1))
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(loc.mean(), scale))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    gaussian = bm.Gaussian(draws=1000, adam=bm.Adam(steps=30))
    post = bm.fit(model, TASKS, theta=gaussian, phi=bm.Joint(), progress=False)
    found = bm.information.entropy(post, "theta")
    # That of the normal q of loc and log scale, of as many draws, and the mean log scale.
    points = torch.cat([post.theta["loc"][0], post.theta["scale"].log()[0, :, None]], 1).double()
    drawn = 21 * NORMAL + 0.5 * torch.linalg.slogdet(points.T.cov())[1] + points[:, -1].mean()
    assert found.value == pytest.approx(float(drawn), abs=0.6) and found.error < 0.2
    with pytest.raises(bm.StructureError, match="loc together are 20 numbers"):
        bm.information.entropy(post, "loc")
