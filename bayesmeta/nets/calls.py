"""Which networks a model calls with which weights, and weights of theirs that are held still."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Call(NamedTuple):
    """A call of a network.

    Attributes:
        net: who was called.
        weights: with which flat weights.
        shape, dtype: of a datapoint.
        is_first: whether it was never called before.
    """

    net: Any
    weights: Tensor
    shape: torch.Size
    dtype: torch.dtype
    is_first: bool


class Still(NamedTuple):
    """Parameters of a network that do not move.

    Attributes:
        names: of the parameters.
        weights: all of the network's weights, (tasks, size), of which those of the names count.
    """

    names: frozenset[str]
    weights: Tensor


_calls: ContextVar[list[Call] | None] = ContextVar("calls", default=None)
_still: ContextVar[Mapping[int, Still] | None] = ContextVar("still", default=None)


@contextmanager
def watch() -> Iterator[list[Call]]:
    """The calls of networks within the block, in order."""
    found: list[Call] = []
    token = _calls.set(found)
    try:
        yield found
    finally:
        _calls.reset(token)


@contextmanager
def hold(still: Mapping[int, Still]) -> Iterator[None]:
    """Within the block networks, by their id, have weights that do not follow what they get.

    Derivatives stop there: what a layer makes of still weights and still inputs is constant.
    """
    token = _still.set(still)
    try:
        yield
    finally:
        _still.reset(token)


def note(net: Any, weights: Tensor, x: Tensor, *, is_first: bool) -> None:
    """Tell a watcher of a call, where there is one."""
    calls = _calls.get()
    if calls is not None:
        calls.append(Call(net, weights, x.shape[2:], x.dtype, is_first))


def still(net: Any) -> Still | None:
    """What of a network is held still, if anything."""
    return (_still.get() or {}).get(id(net))
