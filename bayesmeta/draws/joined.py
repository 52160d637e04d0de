"""Tasks side by side: those that were observed, and those that a posterior predicts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks


def renamed(tasks: Tasks, word: str) -> Tasks:
    """The same design, of tasks that are others: "A" is "A, replicate"."""
    names = tuple(f"{name}, {word}" for name in tasks.names)
    return replace(tasks, names=names, origin=None, index=None, identity=None)


def joined(one: Tasks, other: Tasks) -> Tasks:
    """The tasks of both, with columns of the same names; narrower ones are padded."""
    width = max(one.num_data, other.num_data)
    one, other = (t if t.num_data == width else t.widen(width) for t in (one, other))

    def both(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b.to(a)])

    assert one.y is not None and other.y is not None
    return replace(
        one,
        x={name: both(column, other.x[name]) for name, column in one.x.items()},
        y=both(one.y, other.y),
        mask=both(one.mask, other.mask),
        names=(*one.names, *other.names),
        ragged=one.ragged or other.ragged,
        origin=None,
        index=None,
        identity=None,
    )
