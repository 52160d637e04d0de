"""Draws against their exact distributions, where torch's own are of another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from torch import Size, Tensor

import bayesmeta as bm
from bayesmeta.distributions.samplers import draw

COUNT = 20_000
# A right sampler falls below this once in a million tests.
LEAST_P = 1e-6


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def p_value(draws: Tensor, cdf: Callable[[np.ndarray], np.ndarray]) -> float:
    return float(stats.kstest(draws.numpy().ravel(), cdf).pvalue)


def correlations(factor: Tensor) -> Tensor:
    """Those below the diagonal of L L^T, (draws, pairs)."""
    at = torch.tril_indices(*factor.shape[-2:], -1)
    return (factor @ factor.mT)[:, at[0], at[1]]


@pytest.mark.parametrize("concentration", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("dim", [2, 3, 4, 5, 6])
def test_each_correlation_of_an_lkj_is_a_beta(dim: int, concentration: float) -> None:
    """(r + 1) / 2 ~ Beta(a, a), a = concentration - 1 + dim / 2 (Lewandowski et al. 2009)."""
    a = concentration - 1 + dim / 2
    factor = draw(dist.LKJCholesky(dim, f64(concentration)[0]), Size([COUNT]))
    assert torch.allclose(factor.square().sum(-1), torch.ones(1, dtype=torch.float64))
    assert (factor.diagonal(dim1=-1, dim2=-2) > 0).all() and not factor.triu(1).any()
    drawn = correlations(factor)
    for pair in drawn.T:
        assert p_value((pair + 1) / 2, stats.beta(a, a).cdf) > LEAST_P
    error = (2 / COUNT) ** 0.5 / (2 * a + 1)
    assert (drawn.var(0) - 1 / (2 * a + 1)).abs().max() < 5 * error
    # Between correlations there is none, though they depend on each other.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(len(drawn.T))).max() < 5 / COUNT**0.5


@pytest.mark.parametrize("concentration", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("dim", [3, 5])
def test_the_determinant_of_an_lkj_has_its_moment(dim: int, concentration: float) -> None:
    """det^k has mean c(eta) / c(eta + k), of the density's constants: correlations together."""
    fn, k = dist.LKJCholesky(dim, f64(concentration)[0]), 0.5
    identity = torch.eye(dim, dtype=torch.float64)
    log_c = fn.log_prob(identity) - dist.LKJCholesky(dim, f64(concentration + k)[0]).log_prob(
        identity
    )
    found = draw(fn, Size([COUNT])).diagonal(dim1=-1, dim2=-2).log().sum(-1).mul(2 * k).exp()
    assert (found.mean() - log_c.exp()).abs() < 5 * found.std() / COUNT**0.5


def test_torchs_own_sampler_is_found_out() -> None:
    """Negative control: of the third correlation in three dimensions."""
    drawn = correlations(dist.LKJCholesky(3, f64(1.0)[0]).sample(Size([COUNT])))
    assert p_value((drawn[:, 2] + 1) / 2, stats.beta(1.5, 1.5).cdf) < LEAST_P


def test_concentrations_of_a_batch_are_kept_apart() -> None:
    drawn = draw(dist.LKJCholesky(3, f64(0.5, 1.0, 5.0)), Size([COUNT]))
    assert drawn.shape == (COUNT, 3, 3, 3)
    for k, a in enumerate((1.0, 1.5, 5.5)):
        for pair in correlations(drawn[:, k]).T:
            assert p_value((pair + 1) / 2, stats.beta(a, a).cdf) > LEAST_P


def wrapped() -> dict[str, dist.TorchDistribution]:
    """Distributions whose entries in the lower left are correlations of LKJ(4, 1)."""
    bare = dist.LKJCholesky(4, f64(1.0)[0])
    to_matrix = dist.transforms.CorrMatrixCholeskyTransform().inv
    return {
        "independent": bare.expand([1]).to_event(1),
        "expanded": dist.ExpandedDistribution(bare, Size([1])),
        "transformed": dist.TransformedDistribution(bare, [to_matrix]),
        "matrix": dist.LKJ(4, f64(1.0)[0]),
        "masked": bare.mask(False),
    }


@pytest.mark.parametrize("name", wrapped())
def test_what_is_wrapped_is_drawn_right(name: str) -> None:
    fn = wrapped()[name]
    drawn = draw(fn, Size([COUNT]))
    assert drawn.shape == fn.sample(Size([COUNT])).shape
    matrix = drawn.reshape(COUNT, 4, 4)
    if name not in ("transformed", "matrix"):
        matrix = matrix @ matrix.mT
    for row in range(1, 4):
        assert p_value((matrix[:, row, 0] + 1) / 2, stats.beta(2, 2).cdf) > LEAST_P
        assert p_value((matrix[:, 3, row - 1] + 1) / 2, stats.beta(2, 2).cdf) > LEAST_P


@pytest.mark.parametrize("concentration", [1e-3, 0.01, 0.3, 3.0])
def test_small_concentrations(concentration: float) -> None:
    """Each at the places where floats tell its draws apart."""
    a = concentration
    gamma = draw(dist.Gamma(f64(a)[0], f64(2.0)[0]), Size([COUNT]))
    share = draw(dist.Beta(f64(a)[0], f64(2 * a)[0]), Size([COUNT]))
    simplex = draw(dist.Dirichlet(f64(a, 2 * a, 3 * a)), Size([COUNT]))
    assert (gamma > 0).all() and ((share > 0) & (share < 1)).all() and (simplex > 0).all()
    assert torch.allclose(simplex.sum(-1), torch.ones(1, dtype=torch.float64))
    exact = [
        stats.gamma(a, scale=0.5),
        stats.beta(a, 2 * a),
        *(stats.beta(k * a, (6 - k) * a) for k in (1, 2, 3)),
    ]
    for draws, of in zip([gamma, share, *simplex.T], exact, strict=True):
        for at in (1e-300, 1e-30, 1e-3, 0.2, 0.49, 0.51, 0.9, 1 - 1e-9):
            expected = float(of.cdf(at))
            error = (expected * (1 - expected) / COUNT) ** 0.5
            assert abs(float((draws <= at).double().mean()) - expected) <= 5 * error + 1e-12


def test_torchs_own_beta_is_found_out() -> None:
    """Negative control: between .49 and .51 there is 1e-5 of Beta(.001, .001)."""
    fn = dist.Beta(f64(1e-3)[0], f64(1e-3)[0])
    exact = stats.beta(1e-3, 1e-3)
    assert float(exact.cdf(0.51) - exact.cdf(0.49)) < 1e-4
    for drawn, piled in ((fn.sample(Size([COUNT])), True), (draw(fn, Size([COUNT])), False)):
        assert (((drawn - 0.5).abs() < 0.01).double().mean() > 0.1) == piled


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_have_the_dtype_and_the_density_of_their_distribution(dtype: torch.dtype) -> None:
    small = torch.full((3,), 1e-3, dtype=dtype)
    for fn in (
        dist.Beta(small, small),
        dist.Dirichlet(small),
        dist.Gamma(small, small),
        dist.LKJCholesky(3, small),
    ):
        drawn = draw(fn, Size([500]))
        assert drawn.dtype == dtype and torch.isfinite(fn.log_prob(drawn)).all()


def test_outcomes_of_a_drawn_probability() -> None:
    """Of ten, nearly all or none; by Pyro's own, five or so in a quarter of the draws."""
    small = f64(1e-3)[0]
    fn = dist.BetaBinomial(small, small, 10)
    count, theirs = draw(fn, Size([COUNT])), fn.sample(Size([COUNT]))
    between = [((c > 0) & (c < 10)).double().mean() for c in (count, theirs)]
    assert between[0] < 0.02 and between[1] > 0.2
    assert ((count == 10).double().mean() - 0.5).abs() < 0.02


def test_a_mixture_is_drawn_by_its_parts() -> None:
    parts = dist.Beta(f64(1e-3, 40.0), f64(1e-3, 20.0))
    fn = dist.MixtureSameFamily(dist.Categorical(probs=f64(0.3, 0.7)), parts)
    drawn = draw(fn, Size([COUNT]))

    def cdf(x: np.ndarray) -> np.ndarray:
        return 0.3 * stats.beta(1e-3, 1e-3).cdf(x) + 0.7 * stats.beta(40, 20).cdf(x)

    assert drawn.shape == (COUNT,)
    for at in (1e-6, 0.4, 0.6, 0.7, 0.8, 1 - 1e-6):
        assert abs(float((drawn <= at).double().mean()) - float(cdf(np.array(at)))) < 0.02


class Halved(dist.Beta):
    """A Beta of half its values, as a user may write it."""

    def rsample(self, sample_shape: Size = Size()) -> Tensor:  # noqa: B008
        return super().rsample(sample_shape) / 2


def test_a_sampler_of_ones_own_is_kept() -> None:
    assert (draw(Halved(f64(1.0)[0], f64(1.0)[0]), Size([100])) <= 0.5).all()


def model(tasks: bm.Tasks) -> None:
    """Correlations on both levels, and a share."""
    pyro.sample("share", dist.Beta(1e-3, 1e-3))
    pyro.sample("theta", dist.LKJCholesky(3, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        factor = pyro.sample("factor", dist.LKJCholesky(3, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(factor[..., 2, 1], 1.0), obs=tasks.y)


def test_the_prior_draws_by_them() -> None:
    tasks = bm.Tasks.from_arrays(np.zeros((2, 1)))
    post = bm.prior(model, tasks, draws=4000)
    factors = [post.theta["theta"][0], post.phi["factor"][0, :, 0], post.phi["factor"][0, :, 1]]
    for factor in factors:
        for pair in correlations(factor).T:
            assert p_value((pair + 1) / 2, stats.beta(1.5, 1.5).cdf) > LEAST_P
    assert ((post.theta["share"] - 0.5).abs() > 0.1).double().mean() > 0.99


def test_new_tasks_draw_by_them() -> None:
    """Of a task without data phi is its prior, and so are its outcomes."""

    def prior_of_y(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Beta(1e-3, 1e-3), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(np.full((2, 3), 0.25))
    found = bm.prior(prior_of_y, tasks, draws=2000).predict().draws
    assert ((found - 0.5).abs() < 0.01).double().mean() < 1e-3
