"""The process left as it was found: its random state, its parameters, its default dtype."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pyro
import torch


@contextlib.contextmanager
def at_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Torch's default dtype set for a while, so that the model's Python numbers have it too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def isolated(seed: int) -> Iterator[None]:
    """A seeded random state and a parameter store of our own; the caller's are left as found."""
    devices = list(range(torch.cuda.device_count()))
    with torch.random.fork_rng(devices=devices), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        yield
