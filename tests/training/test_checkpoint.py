"""Checkpoints: read back as written, replaced whole, refused when damaged."""

from __future__ import annotations

import os

import pytest
import torch

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


def test_a_crash_while_writing_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.write(tmp_path, TENSORS, {"step": 1})

    def crash(*paths):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="no space"):
        checkpoint.write(tmp_path, TENSORS, {"step": 2})
    assert checkpoint.read(tmp_path)[1] == {"step": 1}


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
