"""SplineFlow: a density that integrates to one, of the draws it gives, and skewed posteriors."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.amortisation.guides import Anchor

GUIDE = bm.SplineFlow(context=4, width=8)


def moved(d_phi: int) -> list[torch.Tensor]:
    """Weights far enough from the start that the flow bends."""
    generator = torch.Generator().manual_seed(0)
    start = GUIDE.start(d_phi)
    return [w.double() + torch.randn(w.shape, generator=generator).double() for w in start]


@pytest.mark.parametrize("count", [3.0, 0.0])
@pytest.mark.parametrize("d_phi", [1, 2, 3])
def test_the_density_is_that_of_the_draws(d_phi: int, count: float) -> None:
    """log q(f(e)) = log N(e) - log |df/de|, the derivative by automatic differentiation."""
    weights, size = moved(d_phi), torch.full((1, 1), count, dtype=torch.float64)
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(1, GUIDE.numbers(d_phi), generator=generator, dtype=torch.float64)
    anchor = Anchor(torch.ones(1, d_phi).double(), 2 * torch.ones(1, d_phi).double())

    def draw(noise: torch.Tensor) -> torch.Tensor:
        return GUIDE.draw(weights, numbers, size, anchor, noise[None, None])[0, 0]

    for noise in torch.randn(5, d_phi, generator=generator, dtype=torch.float64):
        slope = torch.autograd.functional.jacobian(draw, noise)
        expected = torch.distributions.Normal(0, 1).log_prob(noise).sum() - slope.det().abs().log()
        found = GUIDE.log_prob(weights, numbers, size, anchor, draw(noise)[None, None])
        assert torch.allclose(found[0, 0], expected, atol=1e-6)


def skewed(tasks: bm.Tasks) -> None:
    """Few binary outcomes, all alike: a skewed posterior."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 3.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Bernoulli(logits=phi), obs=tasks.y)


@pytest.mark.slow
def test_it_fits_what_a_normal_cannot() -> None:
    """The bound's distance from log p(D), by quadrature, is the divergence from the posterior."""
    generator = torch.Generator().manual_seed(0)
    phi = 3.0 * torch.randn(1000, 1, generator=generator)
    y = (torch.rand(1000, 6, generator=generator) < phi.sigmoid()).float()
    tasks = bm.Tasks.from_arrays(y)
    grid = torch.linspace(-30, 30, 6001)[:, None]
    log_p = y.sum(1) * grid - 6 * torch.nn.functional.softplus(grid)
    log_p = log_p + dist.Normal(0.0, 3.0).log_prob(grid)
    evidence = torch.logsumexp(log_p, 0) + torch.tensor(0.01).log()
    gap = {}
    for guide in (bm.FullNormal(), bm.SplineFlow()):
        adam = bm.Adam(lr=3e-3, steps=1500, patience=0, compile=False)
        phi_strategy = bm.Amortised(guide=guide, draws=500, candidates=1)
        theta = bm.Point(batch_size=100, adam=adam)
        post = bm.fit(skewed, tasks, theta=theta, phi=phi_strategy, progress=False)
        elbo = post.log_weights[0].mean(0)
        gap[type(guide).__name__] = float((evidence - elbo).mean())
    assert 0 < gap["SplineFlow"] < 0.5 * gap["FullNormal"]
