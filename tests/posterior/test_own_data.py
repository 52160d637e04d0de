"""A loaded posterior that is given its data back is what it was, and takes no others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means, radon
from bayesmeta.posterior.own_data import digest_of

QUICK = {"theta": bm.Importance(draws=400), "phi": bm.Exact()}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bm.Tasks, bm.Posterior]:
    tasks = radon.tasks()[:12]
    post = bm.fit(radon.model, tasks, **QUICK, progress=False)
    folder = tmp_path_factory.mktemp("radon")
    post.save(folder)
    return folder, tasks, post


def test_what_reads_data_is_what_it_was(saved: tuple[Path, bm.Tasks, bm.Posterior]) -> None:
    folder, tasks, post = saved
    loaded = bm.load(folder, radon.model, tasks)
    assert torch.equal(loaded.log_likelihood(), post.log_likelihood())
    one, other = (bm.leave_one_task_out(p, progress=False).table for p in (post, loaded))
    assert one.equals(other)
    assert loaded.update(radon.tasks()[12:15], progress=False).tasks.num_tasks == 15
    with pytest.raises(bm.TasksError, match="no datapoints"):
        bm.leave_one_task_out(bm.load(folder, radon.model))


def test_in_any_order_and_precision(saved: tuple[Path, bm.Tasks, bm.Posterior]) -> None:
    folder, tasks, post = saved
    turned = tasks.select(torch.arange(11, -1, -1))
    loaded = bm.load(folder, radon.model, turned)
    assert loaded.tasks.names == post.tasks.names
    assert torch.equal(loaded.log_likelihood(), post.log_likelihood())


def test_other_data_are_refused(saved: tuple[Path, bm.Tasks, bm.Posterior]) -> None:
    folder, tasks, _ = saved
    with pytest.raises(bm.TasksError, match="other names"):
        bm.load(folder, radon.model, radon.tasks()[1:13])
    y = tasks.y.clone()
    y[0, 0] += 1e-3
    other = bm.Tasks.from_arrays(y, tasks.x, tasks.mask, tasks.names)
    with pytest.raises(bm.TasksError, match="whose data are not those"):
        bm.load(folder, radon.model, other)
    with pytest.raises(TypeError, match="is expected"):
        bm.load(folder, radon.model, "tasks")  # type: ignore[arg-type]


def test_padding_and_dtype_make_no_difference_to_a_digest() -> None:
    tasks = normal_means.tasks(num_tasks=4, num_data=3, ragged=True)
    wide = tasks.widen(7)
    assert digest_of(tasks) == digest_of(wide)
    exact = tasks.to(dtype=torch.float32)
    assert digest_of(exact) == digest_of(exact.to(dtype=torch.float64))
    assert digest_of(tasks) != digest_of(tasks[:3])
    moved = bm.Tasks.from_arrays(tasks.y.flip(0), mask=tasks.mask.flip(0), names=tasks.names)
    assert digest_of(tasks) != digest_of(moved)
