"""Normal means: the closed form against conditioning and quadrature; the simulator's moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from bayesmeta.data.tasks import Tasks
from bayesmeta.models import normal_means
from bayesmeta.models.normal_means import MU_SD, SIGMA, TAU

EMPTY = Tasks.from_list([np.array([1.0, 2.5]), np.array([]), np.array([-0.5])])
CASES = {
    "ragged": normal_means.tasks(),
    "equal": normal_means.tasks(num_tasks=4, num_data=3, seed=1, ragged=False),
    "one task": normal_means.tasks(num_tasks=1, num_data=1),
    "empty task": EMPTY,
}
every_case = pytest.mark.parametrize("tasks", CASES.values(), ids=CASES.keys())


def brute_force(tasks: Tasks) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and log p(D) from the joint normal of (mu, phi, every y), as matrices."""
    task, _ = tasks.mask.nonzero(as_tuple=True)
    y = tasks.y[tasks.mask]
    # (mu, phi) = loading @ (mu, phi - mu), a vector of independent normals.
    loading = torch.eye(1 + tasks.num_tasks)
    loading[:, 0] = 1.0
    prior = torch.full((1 + tasks.num_tasks,), TAU**2)
    prior[0] = MU_SD**2
    latent = loading @ torch.diag(prior) @ loading.T
    design = torch.eye(1 + tasks.num_tasks)[1 + task]
    marginal = design @ latent @ design.T + SIGMA**2 * torch.eye(len(y))
    gain = torch.linalg.solve(marginal, design @ latent).T
    evidence = MultivariateNormal(torch.zeros(len(y)), marginal).log_prob(y)
    return gain @ y, latent - gain @ design @ latent, evidence


@every_case
def test_exact_is_multivariate_normal_conditioning(tasks: Tasks) -> None:
    exact = normal_means.exact(tasks)
    mean, covariance, log_evidence = brute_force(tasks)
    torch.testing.assert_close(exact.mean, mean, rtol=0, atol=1e-11)
    torch.testing.assert_close(exact.covariance, covariance, rtol=0, atol=1e-11)
    torch.testing.assert_close(exact.log_evidence, log_evidence, rtol=0, atol=1e-10)
    torch.testing.assert_close(exact.sd, covariance.diagonal().sqrt(), rtol=0, atol=1e-11)


@every_case
def test_exact_precision_is_an_arrowhead(tasks: Tasks) -> None:
    precision = torch.linalg.inv(normal_means.exact(tasks).covariance)
    expected = torch.diag(torch.cat([torch.zeros(1), 1 / TAU**2 + tasks.sizes / SIGMA**2]))
    expected[0, 0] = 1 / MU_SD**2 + tasks.num_tasks / TAU**2
    expected[0, 1:] = expected[1:, 0] = -1 / TAU**2
    torch.testing.assert_close(precision, expected, rtol=0, atol=1e-9)


def test_exact_is_the_quadrature_over_mu_and_phi() -> None:
    tasks = CASES["ragged"]
    exact = normal_means.exact(tasks)
    mu = torch.linspace(-30.0, 30.0, 1201)
    phi = torch.linspace(-30.0, 30.0, 1201)
    step = float(mu[1] - mu[0])
    joint = Normal(mu[:, None], TAU).log_prob(phi)  # (mu, phi)
    likelihood = Normal(phi[:, None, None], SIGMA).log_prob(tasks.y) * tasks.mask
    likelihood = likelihood.sum(-1)  # (phi, tasks)
    evidence = (joint[..., None] + likelihood).logsumexp(1) + np.log(step)  # (mu, tasks)
    log_mu = Normal(0.0, MU_SD).log_prob(mu) + evidence.sum(-1)
    log_evidence = log_mu.logsumexp(0) + np.log(step)
    torch.testing.assert_close(exact.log_evidence, log_evidence, rtol=0, atol=1e-9)
    weight = (log_mu - log_mu.logsumexp(0)).exp()
    mean = (weight * mu).sum()
    torch.testing.assert_close(exact.mean[0], mean, rtol=0, atol=1e-9)
    sd = (weight * (mu - mean) ** 2).sum().sqrt()
    torch.testing.assert_close(exact.sd[0], sd, rtol=0, atol=1e-9)
    given_mu = (joint[..., None] + likelihood - evidence[:, None]).exp() * step  # (mu, phi, tasks)
    posterior = torch.einsum("m,mpt->pt", weight, given_mu)
    phi_mean = phi @ posterior
    torch.testing.assert_close(exact.mean[1:], phi_mean, rtol=0, atol=1e-9)
    phi_sd = ((phi[:, None] - phi_mean) ** 2 * posterior).sum(0).sqrt()
    torch.testing.assert_close(exact.sd[1:], phi_sd, rtol=0, atol=1e-9)


def test_empty_task_has_the_prior_given_theta() -> None:
    exact = normal_means.exact(EMPTY)
    torch.testing.assert_close(exact.mean[2], exact.mean[0])
    torch.testing.assert_close(exact.sd[2] ** 2, exact.sd[0] ** 2 + TAU**2)


def test_padding_changes_nothing() -> None:
    tasks = CASES["ragged"]
    narrow, wide = normal_means.exact(tasks), normal_means.exact(tasks.widen(2 * tasks.num_data))
    torch.testing.assert_close(narrow.covariance, wide.covariance, rtol=0, atol=1e-13)
    torch.testing.assert_close(narrow.log_evidence, wide.log_evidence, rtol=0, atol=1e-12)


def test_exact_wants_data() -> None:
    with pytest.raises(ValueError, match="y=None"):
        normal_means.exact(EMPTY.without_y())


def test_simulated_data_have_the_truths_moments() -> None:
    tasks = normal_means.tasks(num_tasks=4000, num_data=5, seed=3, ragged=False)
    truth = normal_means.truth(4000, seed=3)
    deviation = truth["phi"] - truth["mu"]
    noise = (tasks.y - truth["phi"][:, None]).flatten()
    for sample, sd in ((deviation, TAU), (noise, SIGMA)):
        error = sd / len(sample) ** 0.5
        assert abs(float(sample.mean())) < 4 * error
        assert abs(float(sample.std()) - sd) < 4 * error / 2**0.5


def test_truth_is_covered_by_its_exact_posterior() -> None:
    z = []
    for seed in range(200):
        exact = normal_means.exact(normal_means.tasks(seed=seed))
        truth = normal_means.truth(seed=seed)
        z.append((torch.cat([truth["mu"][None], truth["phi"]]) - exact.mean) / exact.sd)
    inside = (torch.stack(z).abs() < 1.6448536).double().mean(0)  # 0.90, one figure a site
    assert (inside - 0.90).abs().max() < 4 * (0.90 * 0.10 / 200) ** 0.5


def test_ragged_tasks_hold_a_prefix_of_the_equal_ones_and_seeds_differ() -> None:
    ragged = normal_means.tasks(num_tasks=20)
    equal = normal_means.tasks(num_tasks=20, ragged=False)
    assert torch.equal(ragged.y[ragged.mask], equal.y[ragged.mask])
    assert ragged.ragged and int(ragged.sizes.min()) >= 1 and int(ragged.sizes.max()) == 5
    assert torch.equal(normal_means.tasks().y, normal_means.tasks().y)
    assert not torch.equal(equal.y, normal_means.tasks(num_tasks=20, seed=1, ragged=False).y)
