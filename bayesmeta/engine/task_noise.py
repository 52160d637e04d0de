"""Random numbers of each task that do not depend on the tasks beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.selection import order_of
from bayesmeta.data.tasks import Tasks

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
# So many numbers at once stay in a processor's cache.
_AT_ONCE = 1 << 15


class _Word(NamedTuple):
    """An integer that a hash of 64 bits is read as, several of them where it is shorter."""

    integers: type[np.signedinteger]
    floats: type[np.floating]
    unused: int

    @property
    def bits(self) -> int:
        """Of a signed integer's absolute value, all of which the float holds, and a half."""
        return 8 * np.dtype(self.integers).itemsize - self.unused - 1

    @property
    def each(self) -> int:
        """So many in a hash."""
        return 8 // np.dtype(self.integers).itemsize


_DOUBLE, _SINGLE = _Word(np.int64, np.float64, 11), _Word(np.int32, np.float32, 8)


class TaskNoise:
    """Random numbers keyed by a seed and the names of the tasks, the same on every device.

    Number n of a call is a hash of the task's key in this call plus n times a constant (SplitMix64:
    Steele, Lea & Flood 2014), so that those of all tasks are found together, in whatever order and
    company they stand; a longer call begins with a shorter one.

    Args:
        generator: gives the seed, by one number, however many tasks there are.
        tasks: whose names are the keys.
    """

    def __init__(self, generator: torch.Generator, tasks: Tasks) -> None:
        seed = int(torch.randint(2**63 - 1, (), generator=generator, device="cpu"))
        self._keys = _mixed(_hashes(tasks.names) ^ _mixed(np.array([seed], np.uint64)))
        self._calls = 0

    def select(self, index: Tensor) -> TaskNoise:
        """That of the tasks at some positions, as of `Tasks.select`."""
        chosen = object.__new__(TaskNoise)
        chosen._keys, chosen._calls = self._keys[index.cpu().numpy()], self._calls
        return chosen

    def normal(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Standard normal numbers (..., tasks, numbers), on the device of `on_device`.

        In single precision two are made of each hash, whose 24 bits go to 5.4 sds.
        """
        word = _DOUBLE if dtype == torch.float64 else _SINGLE
        # (k + 1/2) / 2^bits is exact, and between -1 and 1.
        drawn = self._integers(shape, word).add_(0.5).mul_(2.0**-word.bits)
        return drawn.erfinv_().mul_(2.0**0.5).to(torch.get_default_device(), dtype)

    def uniform(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Uniform numbers between 0 and 1, less than 1, (..., tasks), as `normal`."""
        return self.uniforms((*shape, 1), dtype)[..., 0]

    def uniforms(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Such numbers, several a task: (..., tasks, numbers)."""
        drawn = self._integers(shape).add_(0.5).mul_(2.0**-53).add_(0.5)
        return drawn.to(torch.get_default_device(), dtype).clamp(max=1 - torch.finfo(dtype).eps / 2)

    def shuffled_rows(self, mask: Tensor) -> Tensor:
        """Each task's rows (tasks, data): the real ones in random order, then the padding."""
        return order_of(mask, self.uniform(mask.shape[::-1], torch.float64).mT)

    def _integers(self, shape: Sequence[int], word: _Word = _DOUBLE) -> Tensor:
        """Those of -2^bits..2^bits - 1 (..., tasks, numbers), equally likely, as floats."""
        *lead, tasks, each = shape
        count, hashes = int(np.prod(lead, dtype=int)), -(-each // word.each)
        places = (np.arange(count * hashes, dtype=np.uint64) * _STEP).reshape(count, 1, hashes)
        self._calls += 1
        keys = _mixed(self._keys + np.array([self._calls], np.uint64) * _STEP)[:, None]
        found = np.empty((count, tasks, each), word.floats)
        rows = max(1, _AT_ONCE // max(1, tasks * hashes))
        for start in range(0, count, rows):
            bits = _mixed(places[start : start + rows] + keys).view(word.integers)
            found[start : start + rows] = bits[..., :each] >> word.unused
        return torch.from_numpy(found).reshape(tuple(shape))


def _hashes(names: Sequence[str]) -> np.ndarray:
    """64 bits of each name, letter by letter."""
    letters = np.array(names).view(np.uint32).reshape(len(names), -1)
    found = np.zeros(len(names), np.uint64)
    for letter in letters.T.astype(np.uint64):
        # Shorter names end in zeros.
        found = np.where(letter > 0, _mixed(found + letter * _STEP), found)
    return found


def _mixed(bits: np.ndarray) -> np.ndarray:
    """Numbers of 64 bits, each bit of which depends on all: a permutation of them."""
    bits = (bits ^ (bits >> np.uint64(30))) * _FACTORS[0]
    bits = (bits ^ (bits >> np.uint64(27))) * _FACTORS[1]
    return bits ^ (bits >> np.uint64(31))
