"""Eight schools: the reference is derived again by quadrature."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bayesmeta.models import eight_schools

Array = NDArray[np.float64]


def quadrature(tau_scale: float = 5.0, nodes: int = 400) -> tuple[Array, Array]:
    """Posterior mean and sd of (mu, tau, effect A..H).

    With tau = tau_scale tan(t) the half-Cauchy prior is uniform in t on (0, pi/2), and given tau
    all else is Gaussian, so Gauss-Legendre in t converges geometrically.
    """
    schools = eight_schools.tasks()
    y, sigma = schools.y.numpy()[:, 0], schools.x["sigma"].numpy()[:, 0]
    point, weight = np.polynomial.legendre.leggauss(nodes)
    tau = tau_scale * np.tan(np.pi / 4 * (point + 1))[:, None]
    total = sigma**2 + tau**2  # variance of y given mu and tau
    mu_var = 1 / (1 / 25 + (1 / total).sum(1))
    mu = mu_var * (y / total).sum(1)
    log_evidence = 0.5 * (
        mu**2 / mu_var + np.log(mu_var) - np.log(total).sum(1) - (y**2 / total).sum(1)
    )
    weight = weight * np.exp(log_evidence - log_evidence.max())
    weight /= weight.sum()
    shrink = tau**2 / total
    effect = shrink * y + (1 - shrink) * mu[:, None]
    effect_var = shrink * sigma**2 + (1 - shrink) ** 2 * mu_var[:, None]
    first = np.column_stack([mu, tau, effect])
    second = np.column_stack([mu**2 + mu_var, tau**2, effect**2 + effect_var])
    mean = weight @ first
    return mean, np.sqrt(weight @ second - mean**2)


def reference() -> tuple[Array, Array]:
    pairs = [eight_schools.REFERENCE[site] for site in ("mu", "tau", "effect")]
    mean, sd = (np.concatenate([pair[i].reshape(-1).numpy() for pair in pairs]) for i in (0, 1))
    return mean, sd


def test_reference_is_the_quadrature() -> None:
    for given, derived in zip(reference(), quadrature(), strict=True):
        np.testing.assert_allclose(given, derived, rtol=0, atol=1e-6)


def test_quadrature_has_converged() -> None:
    for coarse, fine in zip(quadrature(nodes=200), quadrature(nodes=800), strict=True):
        np.testing.assert_allclose(coarse, fine, rtol=0, atol=1e-8)


def test_another_prior_of_tau_is_told_apart() -> None:
    mean, _ = quadrature(tau_scale=10.0)
    assert np.abs(mean - reference()[0]).max() > 0.1


def test_data_are_rubins() -> None:
    schools = eight_schools.tasks()
    assert schools.names == tuple("ABCDEFGH")
    assert schools.y.shape == schools.x["sigma"].shape == (8, 1)
    # The pooled estimate and its sd, 7.7 and 4.1, are Gelman et al. (2013), section 5.5.
    precision = 1 / schools.x["sigma"] ** 2
    pooled = (precision * schools.y).sum() / precision.sum()
    assert float(pooled) == pytest.approx(7.7, abs=0.05)
    assert float(precision.sum() ** -0.5) == pytest.approx(4.1, abs=0.05)
