"""Checkpoints: read back as written, replaced whole, refused when damaged."""

from __future__ import annotations

import errno
import os
import resource

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import bayesmeta as bm
from bayesmeta.training import checkpoint

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "empty": torch.empty(0, 2)}


def test_what_was_written_is_read(tmp_path):
    assert checkpoint.read(tmp_path / "none") is None
    checkpoint.write(tmp_path / "run", TENSORS, {"x": [1, "two"]})
    tensors, about = checkpoint.read(tmp_path / "run")
    assert about == {"x": [1, "two"]}
    assert tensors.keys() == TENSORS.keys()
    for name, x in TENSORS.items():
        assert torch.equal(tensors[name], x) and tensors[name].dtype == x.dtype


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_is_full_leaves_the_old_one_and_nothing_else(step, tmp_path, monkeypatch):
    checkpoint.write(tmp_path, TENSORS, {"step": 1})
    files = sorted(tmp_path.iterdir())

    def full(*given):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(bm.CheckpointError, match=r"written to \(No space .*another folder"):
        checkpoint.write(tmp_path, TENSORS, {"step": 2})
    assert sorted(tmp_path.iterdir()) == files
    assert checkpoint.read(tmp_path)[1] == {"step": 1}


def test_a_file_above_the_limit_of_the_system_is_told_in_words(tmp_path):
    # A disk as full as one gets here: the system itself refuses the bytes.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(bm.CheckpointError, match="cannot be written to"):
            checkpoint.write(tmp_path, {"a": torch.zeros(10_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def rewritten(path, change):
    """The file with other metadata."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(metadata)
    save_file(tensors, path, metadata)


def test_a_file_of_before_there_were_formats_reads(tmp_path):
    path = checkpoint.write(tmp_path, TENSORS, {"step": 1})
    rewritten(path, lambda metadata: metadata.pop("format"))
    assert checkpoint.read(tmp_path)[1] == {"step": 1}


@pytest.mark.parametrize(
    ("found", "message"),
    [("99", r"of format 99, but .* reads formats up to 1; .*pip install"), ("x", "no whole")],
)
def test_a_file_of_a_newer_format_is_refused(found, message, tmp_path):
    path = checkpoint.write(tmp_path, TENSORS, {"step": 1})
    rewritten(path, lambda metadata: metadata.update(format=found, sha256="made otherwise"))
    with pytest.raises(bm.CheckpointError, match=message):
        checkpoint.read(tmp_path)


@pytest.mark.parametrize("place", [0.5, 0.999])
def test_one_changed_byte_is_found(tmp_path, place):
    path = checkpoint.write(tmp_path, TENSORS, {"step": 1})
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(bm.CheckpointError, match="no whole checkpoint"):
        checkpoint.read(tmp_path)


def test_half_a_file_is_found(tmp_path):
    path = checkpoint.write(tmp_path, TENSORS, {"step": 1})
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(bm.CheckpointError, match="no whole checkpoint"):
        checkpoint.read(tmp_path)


def row(site, role, shape, parents):
    return {"site": site, "role": role, "shape": shape, "parents": parents}


MU, PHI, Y = (
    row("mu", "theta", "()", "-"),
    row("phi", "phi", "(6, 1)", "mu"),
    row("y", "data", "(6, 11)", "phi"),
)
OLD = [MU, PHI, Y]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        ([MU, PHI, Y | {"shape": "(6, 12)"}], "its y has shape (6, 11), here (6, 12)"),
        (
            [MU | {"site": "nu"}, PHI, Y],
            "it has a site mu, which is not here, and it has no site nu",
        ),
        ([Y, PHI, MU], "its sites are in another order"),
    ],
)
def test_of_two_models_only_what_differs_is_said(new, words):
    assert checkpoint.difference("model", OLD, new) == words
    assert checkpoint.difference("seed", 1, 2) == "its seed is 1, this one's 2"
