"""VariationalSteps: the closed form at the end of the steps, and the gradient through them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import linear_regression, normal_means

TASKS = normal_means.tasks(num_tasks=6, num_data=4, seed=2)
MU = torch.tensor(0.7, dtype=torch.float64)


def density_of(tasks: bm.Tasks) -> Density:
    return Density(read(normal_means.model, tasks))


def test_many_steps_reach_the_posterior_and_none_stay_at_the_prior() -> None:
    precision = normal_means.TAU**-2 + TASKS.sizes * normal_means.SIGMA**-2
    total = torch.where(TASKS.mask, TASKS.y, 0.0).sum(1)
    mean = (MU * normal_means.TAU**-2 + total * normal_means.SIGMA**-2) / precision
    for steps, is_there in ((300, True), (0, False)):
        phi = bm.VariationalSteps(steps, lr=0.05, particles=400, draws=4000)
        theta = bm.Fixed({"mu": MU})
        draws = bm.fit(normal_means.model, TASKS, theta=theta, phi=phi, progress=False).phi["phi"]
        error = ((draws[0].mean(0) - mean) * precision.sqrt()).abs().max()
        spread = (draws[0].std(0) * precision.sqrt() - 1).abs().max()
        assert (error < 0.2 and spread < 0.1) == is_there


@pytest.mark.parametrize("with_query", [True, False])
def test_the_outer_gradient_is_that_of_finite_differences(with_query: bool) -> None:
    support, query = normal_means.tasks(6, 4, seed=2, ragged=False).split(2)
    tasks = support.with_query(query) if with_query else support
    density, phi = density_of(support), bm.VariationalSteps(3, lr=0.05, particles=4)
    noise = phi.noise(density, len(tasks), torch.float64, torch.Generator().manual_seed(0))

    def evidence(theta: Tensor, strategy: bm.VariationalSteps = phi) -> Tensor:
        return strategy.log_evidence(density, theta, tasks, noise=noise).sum()

    at = MU[None].requires_grad_()
    (found,) = torch.autograd.grad(evidence(at), at)
    width = 1e-5
    expected = (evidence(at + width) - evidence(at - width)).detach() / (2 * width)
    assert torch.allclose(found, expected, rtol=1e-6)
    # Negative control: the first-order one differs.
    first = bm.VariationalSteps(3, lr=0.05, particles=4, first_order=True)
    (other,) = torch.autograd.grad(evidence(at, first), at)
    assert not torch.allclose(other, expected, rtol=1e-3)


def test_without_a_query_it_is_a_lower_bound_of_the_evidence() -> None:
    density = density_of(TASKS)
    exact = bm.Exact().log_evidence(density, MU[None], TASKS)
    phi = bm.VariationalSteps(200, lr=0.05, particles=2000)
    noise = phi.noise(density, len(TASKS), torch.float64, torch.Generator().manual_seed(0))
    found = phi.log_evidence(density, MU[None], TASKS, noise=noise)
    assert ((found - exact).abs() < 0.15).all()
    few = bm.VariationalSteps(1, lr=0.01, particles=2000)
    assert (few.log_evidence(density, MU[None], TASKS, noise=noise) < exact).all()


def test_many_coordinates_at_draws_of_theta() -> None:
    """Each draw of theta has steps of its own: phi is drawn around where they end."""
    tasks = linear_regression.tasks(num_tasks=6, num_data=10, num_features=3)
    model = linear_regression.model
    theta = bm.Gaussian(draws=50, adam=bm.Adam(steps=50, compile=False))
    post = bm.fit(model, tasks, theta=theta, phi=bm.Exact(), progress=False)
    phi = bm.VariationalSteps(3, lr=0.01)
    found = post.adapt(tasks, phi=phi).free_phi[0]
    assert found.shape == (50, 6, 3)
    for k in (0, 49):
        inner = phi.noise(post.density, 6, torch.float64, torch.Generator().manual_seed(1))[0]
        mean, sd = phi.climb(post.density, post.fit.theta[0, k], tasks, inner)
        # Other noise in the steps, so that it is not the same q to the last digit.
        assert ((found[k] - mean) / sd).abs().max() < 6


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="at least 0"):
        bm.VariationalSteps(steps=-1)
