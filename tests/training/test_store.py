"""What is stored of a run: now and then, on a full disk, in a folder that may only be read."""

from __future__ import annotations

import errno
import os
import signal
import warnings

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means
from bayesmeta.training import checkpoint, loop

TASKS = normal_means.tasks(num_tasks=6, num_data=3, seed=0)
THETA = bm.Point(batch_size=2, adam=bm.Adam(lr=0.05, steps=40, patience=0, compile=False))


def fitted(folder=None, seconds=30.0, theta=THETA):
    return bm.fit(
        normal_means.model,
        TASKS,
        theta=theta,
        phi=bm.Mode(),
        checkpoint=folder,
        checkpoint_seconds=seconds,
        progress=False,
    )


class Disk:
    """Counts saves, and is full at some of them."""

    def __init__(self, monkeypatch, full=()):
        self.saves, self.full, self.replace = 0, full, os.replace
        monkeypatch.setattr(os, "replace", self)

    def __call__(self, *paths):
        self.saves += 1
        if self.saves in self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.replace(*paths)


@pytest.mark.parametrize(("seconds", "saves"), [(0.0, 41), (1e6, 2)])
def test_how_often_is_said_in_seconds(seconds, saves, tmp_path, monkeypatch):
    disk = Disk(monkeypatch)
    fitted(tmp_path, seconds)
    assert disk.saves == saves


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_no_seconds_are_refused(seconds, tmp_path):
    with pytest.raises(ValueError, match=r"checkpoint_seconds=.*such as 30"):
        fitted(tmp_path, seconds)


def test_a_disk_that_gets_full_ends_nothing_and_warns_once(tmp_path, monkeypatch):
    expected = fitted()
    # From the save after step 19 on.
    Disk(monkeypatch, full=range(21, 100))
    with pytest.warns(UserWarning, match="stored there is of step 19") as found:
        post = fitted(tmp_path, seconds=0.0)
    assert len(found) == 1
    assert torch.equal(post.losses, expected.losses)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]
    assert len(checkpoint.read(tmp_path)[0]["losses"]) == 19
    monkeypatch.undo()
    # With space again the same call goes on from there, to the same result.
    again = fitted(tmp_path)
    assert torch.equal(again.fit.theta, expected.fit.theta)
    assert torch.equal(again.losses, expected.losses)


def test_what_is_full_for_a_while_is_tried_again(tmp_path, monkeypatch):
    Disk(monkeypatch, full=range(5, 10))
    with pytest.warns(UserWarning, match="stored there is of step 3"):
        fitted(tmp_path, seconds=0.0)
    assert len(checkpoint.read(tmp_path)[0]["losses"]) == 40


def test_a_disk_that_is_full_from_the_start_is_found_before_the_first_step(tmp_path, monkeypatch):
    Disk(monkeypatch, full=[1])
    with pytest.raises(bm.CheckpointError, match="No space left"):
        fitted(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_read_where_nothing_may_be_written(tmp_path, monkeypatch):
    expected = fitted(tmp_path)
    written = (tmp_path / "training.safetensors").read_bytes()

    def refuse(*given):
        raise OSError(errno.EROFS, "Read-only file system")

    # Of root's, a folder without leave to write would be written to all the same.
    monkeypatch.setattr(os, "replace", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = fitted(tmp_path)
    assert torch.equal(again.fit.theta, expected.fit.theta)
    assert (tmp_path / "training.safetensors").read_bytes() == written
    # Another run has to write there.
    with pytest.raises(bm.CheckpointError, match="Read-only"):
        fitted(tmp_path / "other")


def test_an_interrupt_on_a_full_disk_promises_nothing(tmp_path, monkeypatch):
    Disk(monkeypatch, full=range(2, 100))
    check = loop._check

    def stop(losses, *rates):
        check(losses, *rates)
        if len(losses) == 10:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "_check", stop)
    full = pytest.warns(UserWarning, match="of step 0, and each later save")
    with full, pytest.warns(UserWarning, match="what was reached is kept$"):
        post = fitted(tmp_path, seconds=0.0)
    assert len(post.losses) == 10
