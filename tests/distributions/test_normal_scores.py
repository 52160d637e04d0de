"""Normal scores: standard normal numbers have the density that they say, and come back."""

from __future__ import annotations

import math
import warnings

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.transforms import OrderedTransform
from scipy import special, stats
from torch import Tensor
from torch.distributions.transforms import AffineTransform

from bayesmeta.capturing.capture import capture, over_draws
from bayesmeta.distributions.normal_scores import normal_scores, scores_of
from bayesmeta.distributions.quantile_operations import BetaLogit, LogGamma, quantile
from bayesmeta.distributions.supports import bijection


def t(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


ROOT = torch.tensor([[1.0, 0, 0], [0.5, 1, 0], [0.2, -0.4, 0.7]], dtype=torch.float64)
FAMILIES = {
    "Normal": dist.Normal(t(1.0), t(2.0)),
    "LogNormal": dist.LogNormal(t(0.3), t(0.7)),
    "Cauchy": dist.Cauchy(t(1.0), t(2.0)),
    "Laplace": dist.Laplace(t(1.0), t(2.0)),
    "StudentT": dist.StudentT(t(1.5), t(1.0), t(2.0)),
    "StudentT-light": dist.StudentT(t(6.0), t(1.0), t(2.0)),
    "Gumbel": dist.Gumbel(t(1.0), t(2.0)),
    "HalfNormal": dist.HalfNormal(t(2.0)),
    "HalfCauchy": dist.HalfCauchy(t(2.0)),
    "Exponential": dist.Exponential(t(2.0)),
    "Uniform": dist.Uniform(t(-1.0), t(3.0)),
    "Gamma": dist.Gamma(t(0.5), t(2.0)),
    "Gamma-wide": dist.Gamma(t(3.0), t(2.0)),
    "Chi2": dist.Chi2(t(3.0)),
    "InverseGamma": dist.InverseGamma(t(3.0), t(2.0)),
    "Beta": dist.Beta(t(0.3), t(0.3)),
    "Beta-wide": dist.Beta(t(2.0), t(5.0)),
    "Weibull": dist.Weibull(t(2.0), t(1.5)),
    "Pareto": dist.Pareto(t(2.0), t(3.0)),
    "Kumaraswamy": dist.Kumaraswamy(t(2.0), t(3.0)),
    "Logistic": dist.Logistic(t(1.0), t(2.0)),
    "MultivariateNormal": dist.MultivariateNormal(t(1.0, 2.0, 3.0), scale_tril=ROOT),
    "LowRank": dist.LowRankMultivariateNormal(t(1.0, 2.0), t(1.0, 0.5)[:, None], t(0.5, 0.6)),
    "Dirichlet": dist.Dirichlet(t(0.5, 1.0, 2.0, 0.7)),
    "LKJCholesky": dist.LKJCholesky(4, t(1.5).squeeze()),
    "ordered": dist.TransformedDistribution(
        dist.Normal(t(0.0, 1.0, 2.0), t(1.0, 1.0, 1.0)).to_event(1), [OrderedTransform()]
    ),
    "falling": dist.TransformedDistribution(
        dist.Normal(t(0.0), t(1.0)), [AffineTransform(0.0, t(-2.0))]
    ),
    "independent": dist.Normal(t(1.0, 2.0), t(2.0, 3.0)).to_event(1),
    "expanded": dist.Exponential(t(2.0).squeeze()).expand([2]),
}


def _unconstrained(fn: dist.Distribution, z: Tensor) -> Tensor:
    return bijection(fn).inv(scores_of(fn).to_value(z))


def _error(fn: dist.Distribution, z: Tensor) -> float:
    """log N(z) - log |du/dz| against the family's own log density of u."""
    z = z.clone().requires_grad_()
    u = _unconstrained(fn, z)
    rows = [torch.autograd.grad(x, z, retain_graph=True)[0].reshape(-1) for x in u.reshape(-1)]
    normal = -(0.5 * z.square() + 0.5 * math.log(2 * math.pi)).sum()
    by_scores = normal - torch.linalg.slogdet(torch.stack(rows))[1]
    onto, at = bijection(fn), u.detach()
    value = onto(at)
    own = fn.log_prob(value).sum() + onto.log_abs_det_jacobian(at, value).sum()
    return abs(float((by_scores - own).detach()))


@pytest.mark.parametrize("name", FAMILIES)
def test_scores_have_the_density_of_the_family(name: str) -> None:
    fn = FAMILIES[name]
    shape = bijection(fn).inverse_shape(fn.batch_shape + fn.event_shape)
    generator = torch.Generator().manual_seed(0)
    for size in (1.0, 1.0, 2.5):
        z = size * torch.randn(shape, generator=generator, dtype=torch.float64)
        assert _error(fn, z) < 1e-8
        back = scores_of(fn).to_score(scores_of(fn).to_value(z))
        torch.testing.assert_close(back, z, rtol=1e-6, atol=1e-6)


def test_negative_control_the_density_of_another_family_is_not_that() -> None:
    z = t(0.7).requires_grad_()
    other = dist.Gamma(t(0.6), t(2.0))
    u = _unconstrained(FAMILIES["Gamma"], z)
    (slope,) = torch.autograd.grad(u.sum(), z)
    by_scores = -0.5 * z.square() - 0.5 * math.log(2 * math.pi) - slope.log()
    value = u.detach().exp()
    assert abs(float((by_scores - other.log_prob(value) - value.log()).detach())) > 0.01


@pytest.mark.parametrize("name", ["VonMises", "Mixture"])
def test_where_none_are_known_there_are_none(name: str) -> None:
    normal = dist.Normal(t(0.0, 3.0), t(1.0, 1.0))
    fn = {
        "VonMises": dist.VonMises(t(0.0), t(1.0)),
        "Mixture": dist.MixtureSameFamily(dist.Categorical(t(0.5, 0.5)), normal),
    }[name]
    assert normal_scores(fn) is None


class Mine(dist.Normal):
    """A user's own, whose density is not that of its base."""


def test_a_family_of_the_users_own_is_not_taken_for_its_base() -> None:
    assert normal_scores(Mine(t(0.0), t(1.0))) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["Cauchy", "HalfCauchy", "StudentT", "Laplace", "Exponential"])
def test_far_out_values_and_slopes_are_numbers(name: str, dtype: torch.dtype) -> None:
    fn = FAMILIES[name]
    narrow = type(fn)(**{k: getattr(fn, k).to(dtype) for k in fn.arg_constraints})
    z = torch.tensor([-40.0, -9.0, 0.0, 9.0, 40.0], dtype=dtype, requires_grad=True)
    value = scores_of(narrow).to_value(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    assert value.isfinite().all() and slope.isfinite().all()
    assert (value.square() < torch.finfo(dtype).max).all()


def test_tails_are_those_of_scipy() -> None:
    z = t(-7.5, -3.0, 0.0, 3.0, 7.5)
    value = scores_of(dist.Cauchy(t(0.0), t(1.0))).to_value(z)
    below = stats.cauchy.ppf(stats.norm.cdf(z[:2].numpy()))
    torch.testing.assert_close(value[:2], torch.from_numpy(below), rtol=1e-9, atol=0)
    torch.testing.assert_close(value[3:], -value[:2].flip(0), rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_where_numbers_underflow_their_logarithms_do_not(name: str) -> None:
    """Against the first term of the series of F, which has all digits there."""
    z, a, b = t(-3.0, -1.0, 0.0), t(0.001, 0.001, 0.001), t(0.002, 0.002, 0.002)
    log_chance = torch.from_numpy(special.log_ndtr(z.numpy()))
    if name == "gamma":
        found = quantile(LogGamma, z, a)
        right = (log_chance + torch.lgamma(a + 1)) / a
    else:
        found = quantile(BetaLogit, z, a, b)
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        right = (log_chance + a.log() + log_beta) / a
    torch.testing.assert_close(found, right, rtol=1e-3, atol=0)


@pytest.mark.parametrize("name", ["Gamma", "Beta", "StudentT"])
def test_derivatives_are_those_of_differences(name: str) -> None:
    fn = FAMILIES[name]
    names = [k for k in fn.arg_constraints if k != "loc"]

    def of(z: Tensor, *parameters: Tensor) -> Tensor:
        given = {k: getattr(fn, k) for k in fn.arg_constraints}
        made = type(fn)(**(given | dict(zip(names, parameters, strict=True))), validate_args=False)
        return _unconstrained(made, z)

    inputs = [x.clone().requires_grad_() for x in (t(0.8), *(getattr(fn, k) for k in names))]
    assert torch.autograd.gradcheck(of, inputs, eps=1e-5, atol=1e-5, rtol=1e-4)
    assert torch.autograd.gradgradcheck(lambda z: of(z, *inputs[1:]), inputs[:1], atol=1e-5)


@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in ("LowRank", "LKJCholesky")])
def test_no_operation_is_computed_draw_by_draw(name: str) -> None:
    """Under vmap torch warns of those."""
    fn = FAMILIES[name]
    shape = bijection(fn).inverse_shape(fn.batch_shape + fn.event_shape)
    z = torch.randn(4, *shape, dtype=torch.float64)
    graph = capture(lambda z: (scores_of(fn).to_score(scores_of(fn).to_value(z)),), [z[0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = over_draws(graph, [z], [])[0]
    torch.testing.assert_close(found, z, rtol=1e-5, atol=1e-5)


def test_quantiles_are_one_operation_of_a_graph_over_draws() -> None:
    def at(z: Tensor, a: Tensor) -> tuple[Tensor]:
        return (scores_of(dist.Gamma(a, torch.ones_like(a))).to_value(z),)

    z, a = torch.randn(5, 3, dtype=torch.float64), t(0.5, 1.0, 2.0)
    graph = capture(at, [z[0], a])
    torch.testing.assert_close(
        over_draws(graph, [z], [a])[0], torch.stack([at(x, a)[0] for x in z])
    )
