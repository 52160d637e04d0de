"""Columns that are kept as positions in a table of examples, and read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class IndexedColumn(Mapping[str, Tensor]):
    """One column x[name] = table[index]: what many tasks show of the same examples.

    Twenty thousand episodes of images take gigabytes; their positions take megabytes. Bytes are
    read as numbers from 0 to 1, everything else as it is.

    Attributes:
        name: the column's name.
        table: examples of shape (examples, ...).
        index: positions in the table, (tasks, data).
        dtype: the floating dtype in which the column is read.
    """

    name: str
    table: Tensor
    index: Tensor
    dtype: torch.dtype = torch.float32

    def __getitem__(self, name: str) -> Tensor:
        if name != self.name:
            raise KeyError(name)
        read = self.table[self.index]
        scale = 255 if read.dtype == torch.uint8 else 1
        return read.to(self.dtype) / scale

    def __iter__(self) -> Iterator[str]:
        return iter((self.name,))

    def __len__(self) -> int:
        return 1

    def select(self, tasks: Tensor) -> IndexedColumn:
        """The rows of some tasks."""
        return replace(self, index=self.index[tasks])

    def to(self, device: torch.device | str | None, dtype: torch.dtype | None) -> IndexedColumn:
        """The same on another device, or to be read in another dtype."""
        return replace(
            self,
            table=move(self.table, device, None),
            index=move(self.index, device, None),
            dtype=dtype if dtype is not None else self.dtype,
        )


def select_columns(x: Mapping[str, Tensor], tasks: Tensor) -> Mapping[str, Tensor]:
    """The rows of some tasks of columns that are held, or looked up and remain so."""
    if isinstance(x, IndexedColumn):
        return x.select(tasks)
    return {name: column[tasks] for name, column in x.items()}


def move_columns(
    x: Mapping[str, Tensor], device: torch.device | str | None, dtype: torch.dtype | None
) -> Mapping[str, Tensor]:
    """The columns on another device, or in another floating dtype."""
    if isinstance(x, IndexedColumn):
        return x.to(device, dtype)
    return {name: move(column, device, dtype) for name, column in x.items()}


def move(column: Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> Tensor:
    """A column on another device, or, unless it is of integers, in another dtype.

    Made under `torch.inference_mode` it is copied, as no gradient goes through such a tensor.
    """
    moved = column.to(device=device, dtype=dtype if column.is_floating_point() else None)
    return moved.clone() if moved.is_inference() else moved
