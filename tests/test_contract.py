"""Every theta strategy with every phi strategy, through the one contract."""

from __future__ import annotations

import itertools

import pytest
import torch

import bayesmeta as bm
from tests.contract import check_pair

SHORT = bm.Adam(steps=60, compile=False)
NUTS = bm.NUTS(chains=2, tune=60, draws=40, compile=False)
BATCHES = bm.Point(batch_size=2, adam=SHORT)
THETAS = [
    NUTS,
    bm.Gaussian(adam=SHORT, draws=50),
    bm.Point(adam=SHORT),
    BATCHES,
]
PHIS = [
    bm.Joint(),
    bm.GradientSteps(steps=2, lr=0.1),
    bm.Exact(draws=20),
    bm.Mode(),
    bm.ReptileSteps(steps=2, lr=0.1),
    bm.Laplace(draws=20),
    bm.Amortised(bm.DeepSet(8, width=8), draws=20),
]
# Parts of an amortised posterior have tests of their own; a pair each shows that they fit in.
PARTS = [
    bm.Amortised(bm.Attentive(8, width=8, heads=2), bm.DiagonalNormal(), draws=20),
    bm.Amortised(bm.SetTransformer(8, slots=2, width=8, blocks=1), bm.FullNormal(), draws=20),
]
SPLINE = bm.Amortised(bm.DeepSet(8, width=8), bm.SplineFlow(width=8), draws=20)
# What of theta they are fitted with makes no difference to them.
BY_STEPS = [bm.VariationalSteps(steps=2, draws=20), bm.SteinParticles(steps=2, particles=4)]
TUNED = bm.FineTune([bm.Full(steps=20, lr=0.1)], progress=False)
AROUND = bm.PostHocLaplace(TUNED, scale=1.0, draws=20)
KNOWN = bm.Fixed({"mu": torch.tensor(1.0)})
# Without log evidence they infer phi where theta is known.
WITHOUT_EVIDENCE = [bm.HMC(draws=20), TUNED, AROUND]
# Of families other than the full one, some strategies show that they fit in.
FAMILIES = [
    bm.Gaussian(bm.MeanField(), batch_size=2, adam=SHORT, draws=50),
    bm.Gaussian(bm.LowRank(2), adam=SHORT, draws=50),
]
PAIRS = [
    *itertools.product(THETAS, PHIS),
    *itertools.product(FAMILIES, [bm.Joint(), bm.Exact(draws=20)]),
    *itertools.product([bm.Point(adam=SHORT), bm.Gaussian(adam=SHORT, draws=50)], PARTS),
    (bm.Point(adam=SHORT), SPLINE),
    pytest.param(bm.Gaussian(adam=SHORT, draws=50), SPLINE, marks=pytest.mark.slow),
    *itertools.product([NUTS, bm.Gaussian(adam=SHORT, draws=50), BATCHES], BY_STEPS),
    *((bm.Importance(draws=200), phi) for phi in (bm.Exact(draws=20), bm.Laplace(draws=20))),
    *((KNOWN, phi) for phi in PHIS if not isinstance(phi, bm.Joint | bm.Amortised)),
    *((KNOWN, phi) for phi in (*BY_STEPS, *WITHOUT_EVIDENCE)),
]
REFUSED_BY_NUTS = {
    bm.Amortised: "has a part to train",
    bm.VariationalSteps: "by random draws",
    bm.SteinParticles: "by random draws",
}


def name(part: object) -> str:
    """Of a strategy, with what it is made of."""
    if isinstance(part, bm.Amortised):
        return f"{type(part).__name__}-{type(part.encoder).__name__}-{type(part.guide).__name__}"
    return type(part).__name__


@pytest.mark.parametrize(("theta", "phi"), PAIRS, ids=name)
def test_pair_keeps_the_contract(theta, phi):
    why = REFUSED_BY_NUTS.get(type(phi))
    if isinstance(theta, bm.NUTS) and why is not None:
        with pytest.raises(ValueError, match=why):
            check_pair(theta, phi)
    else:
        check_pair(theta, phi)
