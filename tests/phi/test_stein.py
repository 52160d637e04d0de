"""SteinParticles: the direction's fixed point, the posterior's moments, and the outer gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import normal_means
from bayesmeta.phi.stein import stein_direction

TASKS = normal_means.tasks(num_tasks=6, num_data=4, seed=2)
MU = torch.tensor(0.7, dtype=torch.float64)


def test_the_direction_is_liu_and_wangs_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    z, slope = (torch.randn(5, 2, 3, generator=generator).double() for _ in range(2))
    found = stein_direction(z, slope)
    for i in range(2):
        square = torch.cdist(z[:, i], z[:, i]).square()
        width = square[~torch.eye(5, dtype=torch.bool)].median() / torch.tensor(5.0).log()
        for k in range(5):
            total = torch.zeros(3).double()
            for other in range(5):
                at = z[other, i].clone().requires_grad_()
                kernel = (-(at - z[k, i]).square().sum() / width).exp()
                (push,) = torch.autograd.grad(kernel, at)
                total += kernel.detach() * slope[other, i] + push
            assert torch.allclose(found[k, i], total / 5, atol=1e-6)


@pytest.mark.parametrize("is_repelled", [True, False])
def test_particles_have_the_moments_of_the_posterior(
    is_repelled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_repelled:  # Negative control: particles that climb alone end at the mode.
        monkeypatch.setattr("bayesmeta.phi.stein.stein_direction", lambda z, slope: slope)
    precision = normal_means.TAU**-2 + TASKS.sizes * normal_means.SIGMA**-2
    total = torch.where(TASKS.mask, TASKS.y, 0.0).sum(1)
    mean = (MU * normal_means.TAU**-2 + total * normal_means.SIGMA**-2) / precision
    phi = bm.SteinParticles(steps=400, lr=0.05, particles=50)
    theta = bm.Fixed({"mu": MU})
    draws = bm.fit(normal_means.model, TASKS, theta=theta, phi=phi, progress=False).phi["phi"][0]
    assert ((draws.mean(0) - mean) * precision.sqrt()).abs().max() < 0.05
    assert ((draws.std(0) * precision.sqrt() - 1).abs().max() < 0.15) == is_repelled


def test_the_outer_gradient_is_that_of_finite_differences() -> None:
    support, query = normal_means.tasks(6, 4, seed=2, ragged=False).split(2)
    tasks = support.with_query(query)
    density = Density(read(normal_means.model, support))
    phi = bm.SteinParticles(3, particles=4)
    noise = phi.noise(density, len(tasks), torch.float64, torch.Generator().manual_seed(0))

    def evidence(theta: Tensor, strategy: bm.SteinParticles = phi) -> Tensor:
        return strategy.log_evidence(density, theta, tasks, noise=noise).sum()

    at = MU[None].requires_grad_()
    (found,) = torch.autograd.grad(evidence(at), at)
    expected = (evidence(at + 1e-5) - evidence(at - 1e-5)).detach() / 2e-5
    assert torch.allclose(found, expected, rtol=1e-6)
    # Negative control: the first-order one differs.
    first = bm.SteinParticles(3, particles=4, first_order=True)
    (other,) = torch.autograd.grad(evidence(at, first), at)
    assert not torch.allclose(other, expected, rtol=1e-3)


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match=r"particles=1; .*at least 2"):
        bm.SteinParticles(particles=1)
