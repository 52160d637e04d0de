"""What is held out leaves each class and task in training, and judges each task alone."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.fine_tuning.held_out import Best, folds, hold_out
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read

F64 = torch.float64


def classifier(tasks):
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            logits = phi.expand(*tasks.mask.shape, 4)
            pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)


def numbers(tasks):
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def split(model, y, share):
    tasks = bm.Tasks.from_list([torch.tensor(row, dtype=F64) for row in y])
    density = Density(read(model, tasks))
    noise = TaskNoise(torch.Generator().manual_seed(0), tasks)
    train, scored = hold_out(density, torch.zeros(0, dtype=F64), tasks, share, noise)
    return [
        [sorted(part.y[i, part.mask[i]].tolist()) for i in range(len(tasks))]
        for part in (train, scored)
    ]


Y = [[0.0] * 10 + [1.0] * 5 + [2.0], [0.0, 1.0, 2.0], [3.0], []]


def test_of_each_class_the_share_is_held_out_but_never_its_last():
    train, scored = split(classifier, Y, 0.2)
    assert scored == [[0, 0, 1], [], [], []]
    assert train == [[0] * 8 + [1] * 4 + [2], [0, 1, 2], [3], []]
    train, scored = split(classifier, Y, 0.99)
    assert [sorted(set(row)) for row in train] == [[0, 1, 2], [0, 1, 2], [3], []]
    assert len(scored[0]) == 13


def test_of_numbers_the_share_is_held_out_but_never_the_last():
    """The negative control of classes: as numbers, one each of three is none to keep."""
    train, scored = split(numbers, Y, 0.34)
    assert [len(row) for row in scored] == [5, 1, 0, 0]
    train, scored = split(numbers, Y, 0.99)
    assert [len(row) for row in train] == [1, 1, 1, 0]


def test_in_folds_each_datapoint_is_held_out_once_but_for_the_last_of_a_class():
    tasks = bm.Tasks.from_list([torch.tensor(row, dtype=F64) for row in Y])
    density = Density(read(classifier, tasks))
    noise = TaskNoise(torch.Generator().manual_seed(0), tasks)
    parts = folds(density, torch.zeros(0, dtype=F64), tasks, 3, noise)
    judged = [[], [], [], []]
    for train, scored in parts:
        for i in range(4):
            judged[i] += scored.y[i, scored.mask[i]].tolist()
            assert set(train.y[i, train.mask[i]].tolist()) == set(Y[i])
            assert int(train.sizes[i] + scored.sizes[i]) == len(Y[i])
    assert [sorted(row) for row in judged] == [[0] * 10 + [1] * 5, [], [], []]


def fitted(tasks, model=classifier, **options):
    stage = bm.Full(steps=40, lr=0.1)
    phi = bm.FineTune([stage], progress=False, **options)
    return bm.fit(model, tasks, theta=bm.Fixed({}), phi=phi, progress=False).free_phi[0, 0]


def test_a_task_with_none_to_spare_is_named_and_trained_as_without():
    tasks = bm.Tasks.from_list([torch.tensor(row, dtype=F64) for row in Y], names=list("abcd"))
    # Of one datapoint a fifth is none, which takes no warning.
    with pytest.warns(UserWarning, match=r"nothing to hold out in 1 of 4 tasks \('b'\)"):
        found = fitted(tasks, held_out=0.2)
    without = fitted(tasks)
    torch.testing.assert_close(found[1:], without[1:])
    assert not torch.allclose(found[0], without[0], atol=1e-3)
    assert without[1:3].abs().amax(1).gt(0.1).all() and not found[3].any()


def test_patience_is_a_tasks_own():
    """What is best of a task does not depend on how long the one beside it is searched."""
    y = torch.tensor([[0.0] * 6 + [1.0] * 4 + [2.0] * 2, [0.0] * 6 + [1.0] * 6], dtype=F64)
    tasks = bm.Tasks.from_arrays(y, names=["a", "b"])
    together = fitted(tasks, held_out=0.3, patience=1)
    for i in range(2):
        alone = fitted(tasks.select(torch.tensor([i])), held_out=0.3, patience=1)
        torch.testing.assert_close(alone[0], together[i])


def test_a_task_that_is_over_takes_no_more():
    scored = bm.Tasks.from_list([torch.ones(2, dtype=F64)] * 2)
    density = Density(read(numbers, scored))
    start = torch.tensor([[0.0], [5.0]], dtype=F64)
    best = Best(density, torch.zeros(0, dtype=F64), scored, start, patience=2)
    for value, other in ((-1.0, 4.0), (-2.0, 3.0), (1.0, 2.0)):
        best.offer(torch.tensor([[value], [other]], dtype=F64))
    # The first has waited twice; of the second each was better than the one before.
    assert best.phi[:, 0].tolist() == [0.0, 2.0] and not best.is_over
