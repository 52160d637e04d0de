"""Tasks side by side have their own names, data and sizes."""

from __future__ import annotations

import torch

import bayesmeta as bm
from bayesmeta.draws.joined import joined, renamed
from bayesmeta.models import normal_means


def test_the_tasks_of_both_stand_one_after_the_other() -> None:
    one = normal_means.tasks(num_tasks=3, num_data=4)
    other = renamed(normal_means.tasks(num_tasks=2, num_data=2, seed=1, ragged=False), "replicate")
    both = joined(one, other)
    assert both.names == ("0", "1", "2", "0, replicate", "1, replicate")
    assert both.sizes.tolist() == [*one.sizes.tolist(), 2, 2] and both.ragged
    assert one.y is not None and other.y is not None and both.y is not None
    assert torch.equal(both.y[:3], one.y) and torch.equal(both.y[3:, :2], other.y)
    bm.structure(normal_means.model, both)


def test_columns_of_tasks_and_of_datapoints_are_kept() -> None:
    y = torch.rand(2, 3)
    x = {"of task": torch.rand(2, 1), "of row": torch.rand(2, 3, 2)}
    one = bm.Tasks.from_arrays(y, x)
    both = joined(one, renamed(one, "again"))
    assert {n: tuple(c.shape) for n, c in both.x.items()} == {
        "of task": (4, 1),
        "of row": (4, 3, 2),
    }
    assert torch.equal(both.x["of row"][2:], x["of row"])
