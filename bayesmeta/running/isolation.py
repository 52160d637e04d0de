"""The process left as it was found, and computing in it as if nobody had changed a switch."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

import pyro
import torch
from torch.distributions import Distribution

# Pyro's handlers and parameters, torch's default dtype, random state and validation are the
# process's, not a thread's: one thread at a time may use them.
_turn = threading.RLock()


def _renew() -> None:
    """In a process that was forked while another thread had its turn, nobody would end it."""
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Around whatever computes for a user, as `@undisturbed()` too: no answer depends on these.

    - `torch.no_grad`, `inference_mode` and `autocast` of the caller are left for a while: some
      packages switch gradients off in the whole process when they are imported.
    - Other threads wait until this one is done.
    """
    with (
        _turn,
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast("cpu", enabled=False),
        torch.autocast("cuda", enabled=False),
    ):
        yield


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
def unvalidated() -> Iterator[None]:
    """Pyro's and torch's validation off for a while, as a graph can hold none of it."""
    # Pyro puts back its own choice, which torch's need not be.
    before = Distribution._validate_args
    try:
        with pyro.validation_enabled(False):
            yield
    finally:
        Distribution.set_default_validate_args(before)


@contextlib.contextmanager
def isolated(seed: int) -> Iterator[None]:
    """A seeded random state and a parameter store of our own; the caller's are left as found."""
    devices = list(range(torch.cuda.device_count()))
    with _turn, torch.random.fork_rng(devices=devices), pyro.get_param_store().scope():
        torch.manual_seed(seed)
        yield
