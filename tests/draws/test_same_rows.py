"""The same rows are found by number and by value; those that are alike by chance are not."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import bayesmeta as bm
from bayesmeta.draws.same_rows import same_rows


def normal(num_tasks: int, num_data: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_tasks, num_data, generator=torch.Generator().manual_seed(seed))


def coins(num_tasks: int, num_data: int, seed: int = 0) -> torch.Tensor:
    return (normal(num_tasks, num_data, seed) > 0).float()


def made(y: torch.Tensor, x: torch.Tensor | None = None, names: str | None = None) -> bm.Tasks:
    return bm.Tasks.from_arrays(y, {} if x is None else {"x": x}, names=names)


def test_parts_of_one_are_told_apart_by_number() -> None:
    # All outcomes are equal, so that values tell nothing.
    tasks = made(torch.zeros(3, 6))
    support, query = tasks.split(4)
    assert not same_rows(query, support).any()
    assert same_rows(query, tasks).equal(query.mask) and same_rows(support, tasks).all()
    both = tasks.split(5)[0]
    overlap = same_rows(both, support) | same_rows(both, query)
    assert overlap.all() and same_rows(both, support).sum() == 12


@pytest.mark.parametrize(
    "y",
    [normal(4, 5), normal(1, 5), coins(4, 10), torch.round(10 * normal(3, 4)) / 10],
    ids=["numbers", "one task", "many coins in their order", "decimals"],
)
def test_what_was_made_twice_is_the_same(y: torch.Tensor) -> None:
    first, second = made(y), made(y.clone())
    assert same_rows(second, first).all()
    # In another dtype, too; and numbers in part.
    assert same_rows(made(y.double()), first).all()
    if y.unique().numel() == y.numel() > 12:
        query = made(y.clone()).split(3)[1]
        assert same_rows(query, first).equal(query.mask)
    # The control: other outcomes of the same kind.
    other = y.flip(0, 1) + 1
    assert not same_rows(made(other), first).any()


@pytest.mark.parametrize(
    ("y", "other"),
    [
        (coins(2, 4), coins(2, 4)),
        (coins(40, 3, seed=1), coins(40, 3, seed=2)),
        (torch.zeros(5, 30), torch.zeros(5, 30)),
        (normal(3, 9).clamp(min=2.0), normal(3, 9, seed=1).clamp(min=2.0)),
    ],
    ids=["few coins", "some tasks of coins", "always zero", "at a limit"],
)
def test_few_values_are_equal_by_chance(y: torch.Tensor, other: torch.Tensor) -> None:
    assert not same_rows(made(other), made(y)).any()


def test_other_inputs_or_other_names_are_other_rows() -> None:
    y, x = normal(3, 5), normal(3, 5, seed=1)
    known = made(y, x, "abc")
    assert same_rows(made(y, x.clone(), "abc"), known).all()
    assert not same_rows(made(y, x + 1, "abc"), known).any()
    assert not same_rows(made(y, x.clone(), "def"), known).any()
    assert not same_rows(made(y, None, "abc"), known).any()
    # By name, in whichever order; and where some rows are new, the others are found.
    assert same_rows(made(y.flip(0), x.flip(0), "cba"), known).all()
    grown = made(torch.cat([y, normal(3, 1, seed=2)], 1).double(), torch.cat([x, x[:, :1]], 1))
    exact = made(y.double(), x)
    assert same_rows(grown, exact).sum(1).tolist() == [5, 5, 5]


def test_a_frame_read_twice_in_another_order_is_the_same() -> None:
    frame = pd.DataFrame({"t": list("aabbb"), "y": [0.31, 1.7, 2.9, 3.3, 0.25]})
    first, second = (
        bm.Tasks.from_frame(f.reset_index(drop=True), "t", "y") for f in (frame, frame.iloc[::-1])
    )
    assert same_rows(second, first).equal(second.mask)
    assert not same_rows(bm.Tasks.from_frame(frame.assign(y=frame.y + 1), "t", "y"), first).any()


def test_episodes_are_told_by_their_examples() -> None:
    classes = bm.Classes(torch.zeros(30, 1, 2, 2), (10, 10, 10), ("a", "b", "c"))
    some = classes[:2].episodes(9, ways=2, shots=5, queries=5)
    other = classes[2:].episodes(2, ways=1, shots=1, queries=1)
    assert some.query is not None
    assert not same_rows(other, some).any() and not same_rows(other, some.query).any()
    assert (same_rows(some, some.query) | same_rows(some, some)).all()
