"""NUTS with Joint against exact quadrature (eight schools) and reference posteriors (radon)."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import eight_schools, radon_contextual


def flat(draws):
    return draws.flatten(0, 1).reshape(draws.shape[0] * draws.shape[1], -1)


def errors(post, reference):
    """For each number: the error of the mean in sds, and the relative error of the sd."""
    means, sds = [], []
    for name, (mean, sd) in reference.items():
        draws = flat({**post.theta, **post.phi}[name])
        mean, sd = torch.as_tensor(mean).reshape(-1), torch.as_tensor(sd).reshape(-1)
        means.append((draws.mean(0) - mean).abs() / sd)
        sds.append((draws.std(0) / sd - 1).abs())
    return torch.cat(means), torch.cat(sds)


@pytest.fixture(scope="module")
def schools():
    return bm.fit(
        eight_schools.model, eight_schools.tasks(), theta=bm.NUTS(draws=4000), progress=False
    )


def test_eight_schools_equals_quadrature(schools):
    """|mean - exact| below 4 MCSE and 0.1 sd, sd within 5%, for all ten."""
    means, sds = errors(schools, eight_schools.REFERENCE)
    assert means.max() < 0.1
    assert sds.max() < 0.05
    table = schools.summary()
    exact = torch.cat([torch.as_tensor(m).reshape(-1) for m, _ in eight_schools.REFERENCE.values()])
    draws = torch.cat(
        [flat({**schools.theta, **schools.phi}[n]).mean(0) for n in eight_schools.REFERENCE]
    )
    mcse = torch.tensor(table["mcse_mean"].to_numpy())
    # The table rounds, so half a unit of its last digit is granted.
    assert ((draws - exact).abs() < 4 * mcse + 0.005).all()


def test_eight_schools_chooses_to_noncentre_and_says_why(schools):
    assert schools.density.noncentred == ("effect",)
    assert "noncentred: effect" in schools.notes[0]
    assert "%" in schools.notes[0]


def test_adapting_to_the_schools_themselves_gives_their_effects_back(schools):
    """Conditionals given theta are Gaussian here, so the draws are exact."""
    means, sds = errors(
        schools.adapt(eight_schools.tasks()), {"effect": eight_schools.REFERENCE["effect"]}
    )
    assert means.max() < 0.1 and sds.max() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("prior", ["uniform", "halfnormal"])
def test_radon_equals_its_reference(prior):
    """Every parameter's mean within 0.1 sd of the reference, sd within 10%."""
    model, reference = {
        "uniform": (radon_contextual.model, radon_contextual.REFERENCE),
        "halfnormal": (radon_contextual.model_halfnormal, radon_contextual.REFERENCE_HALFNORMAL),
    }[prior]
    post = bm.fit(model, radon_contextual.tasks(), theta=bm.NUTS(draws=4000), progress=False)
    means, sds = errors(post, reference)
    assert means.max() < 0.1
    assert sds.max() < 0.1
