"""Every theta strategy with every phi strategy, through the one contract."""

from __future__ import annotations

import pytest

import bayesmeta as bm
from tests.contract import check_pair

SHORT = bm.Adam(steps=60, compile=False)
THETAS = [
    bm.NUTS(chains=2, tune=60, draws=40, compile=False),
    bm.Gaussian(adam=SHORT, draws=50),
    bm.Gaussian(bm.MeanField(), batch_size=2, adam=SHORT, draws=50),
    bm.Gaussian(bm.LowRank(2), adam=SHORT, draws=50),
    bm.Point(adam=SHORT),
    bm.Point(batch_size=2, adam=SHORT),
]
PHIS = [
    bm.Joint(),
    bm.GradientSteps(steps=2, lr=0.1),
    bm.Exact(draws=20),
    bm.Mode(),
    bm.ReptileSteps(steps=2, lr=0.1),
    bm.Laplace(draws=20),
    bm.Amortised(bm.DeepSet(8, width=8), draws=20),
    bm.Amortised(bm.Attentive(8, width=8, heads=2), bm.DiagonalNormal(), draws=20),
]


@pytest.mark.parametrize("theta", THETAS, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("phi", PHIS, ids=lambda p: type(p).__name__)
def test_pair_keeps_the_contract(theta, phi):
    if isinstance(theta, bm.NUTS) and isinstance(phi, bm.Amortised):
        with pytest.raises(ValueError, match="has a part to train"):
            check_pair(theta, phi)
    else:
        check_pair(theta, phi)
