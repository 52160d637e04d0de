"""Adam on gradients of any layout."""

from __future__ import annotations

import torch

import bayesmeta as bm
from bayesmeta.training.optimiser import Optimiser, Parameters


def test_a_broadcast_gradient_moves_every_parameter_alike() -> None:
    """Such as that of a sum, which is one number in memory."""
    shared = torch.zeros(5000)
    optimiser = Optimiser(Parameters([shared], []), bm.Adam(), sparse=False)
    for _ in range(3):
        optimiser.step([torch.ones(1).expand(5000)], torch.arange(0), rate=0.1)
    torch.testing.assert_close(shared, torch.full((5000,), -0.3))
