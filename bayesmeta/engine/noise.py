"""Random numbers that are the same on every device, and the device on which they are wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


@contextlib.contextmanager
def on_device(device: torch.device) -> Iterator[None]:
    """Whatever is made inside without a device of its own is made on this one."""
    # Torch's mode costs some microseconds a call, and on a CPU does nothing.
    if device.type == "cpu":
        yield
    else:
        with torch.device(device):
            yield


def normal(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Standard normal numbers by a generator of the CPU, on the device of `on_device`."""
    drawn = torch.randn(tuple(shape), dtype=dtype, generator=generator, device="cpu")
    return drawn.to(torch.get_default_device())


def uniform(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Uniform numbers in 0..1, as `normal`."""
    drawn = torch.rand(tuple(shape), dtype=dtype, generator=generator, device="cpu")
    return drawn.to(torch.get_default_device())


def seeds(seed: int, count: int, *, repeat: int | None = None) -> list[int]:
    """Independent seeds for the parts of one computation, or of one repeat of it."""
    key = () if repeat is None else (repeat,)
    return [int(s) for s in np.random.SeedSequence(seed, spawn_key=key).generate_state(count)]
