"""Groups of like size hold every task once, in an order that is told, and sum to the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmeta as bm
from bayesmeta.data.size_groups import group_by_size, lay_out
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from tests.cases import EVERY


@pytest.mark.parametrize("name", EVERY)
def test_terms_of_the_groups_are_those_of_the_whole(name: str) -> None:
    model, tasks, _ = EVERY[name]
    density = Density(read(model, tasks))
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(density.d_theta, dtype=torch.float64, generator=generator)
    phi = torch.randn(tasks.num_tasks, density.d_phi, dtype=torch.float64, generator=generator)
    order, groups = group_by_size(tasks)
    whole = density.terms(theta, phi, tasks)
    parts, start = [], 0
    for group in groups:
        rows = order[start : start + group.num_tasks]
        parts.append(density.terms(theta, phi[rows], group))
        start += group.num_tasks
    assert all(torch.allclose(part.theta, whole.theta, atol=1e-10) for part in parts)
    for level in ("phi", "data"):
        together = torch.cat([getattr(part, level) for part in parts])
        assert torch.allclose(together, getattr(whole, level)[order], atol=1e-10)
        assert torch.allclose(together.sum(), getattr(whole, level).sum(), atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=30), groups=st.integers(1, 5))
def test_every_task_once_and_fewer_cells(sizes: list[int], groups: int) -> None:
    tasks = bm.Tasks.from_list([np.arange(n, dtype="float64") + 1000 * n for n in sizes])
    order, found = group_by_size(tasks, groups)
    assert sorted(order.tolist()) == list(range(len(sizes)))
    assert len(found) <= groups
    names = [name for group in found for name in group.names]
    assert names == [tasks.names[i] for i in order.tolist()]
    cells = sum(group.num_tasks * group.num_data for group in found)
    assert cells <= tasks.num_tasks * tasks.num_data
    for group in found:
        assert group.ragged == (not bool(group.mask.all()))
        for i, name in enumerate(group.names):
            original = tasks[name]
            assert torch.equal(group.y[i][group.mask[i]], original.y[0][original.mask[0]])


def test_one_large_task_stands_alone() -> None:
    tasks = bm.Tasks.from_list([np.ones(n) for n in (3, 1000, 2, 3, 1, 2)])
    order, groups = group_by_size(tasks)
    assert order.tolist() == [4, 2, 5, 0, 3, 1]
    assert [g.num_tasks for g in groups] == [5, 1]
    assert [g.num_data for g in groups] == [3, 1000]


def test_the_longer_axis_lies_together() -> None:
    """Values stay; tasks lie together where there are more of them than data."""
    many, few = torch.rand(9, 4, 2), torch.rand(3, 4)
    assert torch.equal(lay_out(many), many) and torch.equal(lay_out(few), few)
    assert lay_out(many).stride(0) == 1
    assert lay_out(few).stride() == (4, 1)
