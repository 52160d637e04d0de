"""Tasks side by side: those that were observed, and those that a posterior predicts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from bayesmeta.data.row_index import Identity
from bayesmeta.data.tasks import Tasks


def renamed(tasks: Tasks, word: str) -> Tasks:
    """The same design, of tasks that are others: "A" is "A, replicate"."""
    names = tuple(f"{name}, {word}" for name in tasks.names)
    return replace(tasks, names=names, origin=None, index=None, identity=None)


def joined(one: Tasks, other: Tasks) -> Tasks:
    """The tasks of both, with columns of the same names; narrower ones are padded.

    Columns that are integers in one and fractions in the other are fractions, and those of one
    number a task in one of them are one a datapoint.
    """
    width = max(one.num_data, other.num_data)
    one, other = (t if t.num_data == width else t.widen(width) for t in (one, other))

    def both(a: Tensor, b: Tensor) -> Tensor:
        dtype = torch.promote_types(a.dtype, b.dtype)
        if a.shape[1] != b.shape[1]:
            a, b = (x.expand(-1, width, *x.shape[2:]) for x in (a, b))
        return torch.cat([a.to(dtype), b.to(a.device, dtype)])

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
        # By it they know themselves, and parts of themselves, again.
        identity=Identity.new(len(one) + len(other), width),
    )
