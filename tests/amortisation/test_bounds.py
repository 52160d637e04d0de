"""What is far from any fit pulls no more than it should; what is near pulls as it does."""

from __future__ import annotations

import torch

import bayesmeta as bm
from bayesmeta.amortisation.bounds import tamed

TASKS = bm.Tasks.from_list([[], [1.0], [1.0, 2.0, 3.0]])


def test_near_estimates_stay_as_they_are() -> None:
    values = torch.tensor([-999.0, -1999.0, 50.0])
    assert torch.equal(tamed(values, [TASKS]), values)


def test_far_estimates_are_bounded_and_join_smoothly() -> None:
    most = torch.tensor([1000.0, 2000.0, 4000.0])
    for times in (1.0001, 10.0, 1e6, 1e30):
        values = (-times * most).requires_grad_()
        found = tamed(values, [TASKS])
        (slope,) = torch.autograd.grad(found.sum(), values)
        assert (found >= -2 * most).all() and found.isfinite().all()
        torch.testing.assert_close(slope, torch.full((3,), times**-2))


def test_the_numbers_of_all_parts_count() -> None:
    values = torch.tensor([-1500.0, -3500.0, -7500.0])
    assert (tamed(values, [TASKS]) > values).all()
    twice = torch.tensor([-1000.0, -3000.0, -7000.0])
    assert torch.equal(tamed(twice, [TASKS, TASKS]), twice)
