"""Which row each datapoint is: a number that it keeps, and its place in a data frame."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RowIndex:
    """The index of a frame, and which of its rows each cell of (tasks, data) holds.

    Attributes:
        labels: the index of the whole frame.
        rows: positions in it, (tasks, data), on the CPU; without meaning where a cell is padding.
    """

    labels: pd.Index
    rows: Tensor

    def select(self, tasks: Tensor) -> RowIndex:
        """That of some tasks."""
        return RowIndex(self.labels, self.rows[tasks.cpu()])

    def take_rows(self, index: Tensor) -> RowIndex:
        """That of the datapoints at positions index (tasks, width) of each task."""
        return RowIndex(self.labels, self.rows.gather(1, index.cpu()))

    def of(self, mask: Tensor) -> tuple[pd.Index, Tensor]:
        """The labels of real cells, task by task, and the order that is the frame's own.

        Args:
            mask: of shape (tasks, data).
        """
        rows = self.rows[mask.cpu()]
        return self.labels[rows.numpy()], torch.argsort(rows, stable=True)


@dataclass(frozen=True, eq=False)
class Identity:
    """Numbers that tasks and rows get when they are made, and keep in whatever is done with them.

    They start at a random number, so that those of other processes are others, too. By them it is
    known who has seen what; no density reads them.

    Attributes:
        source: that of what was made together, as by one `from_frame`.
        tasks: of each task, (tasks,).
        rows: of each datapoint, (tasks, data), on the CPU; without meaning where a cell is padding.
    """

    source: int
    tasks: Tensor
    rows: Tensor

    @classmethod
    def new(cls, num_tasks: int, num_data: int) -> Identity:
        """Of tasks and rows that there were not before."""
        first = new_numbers()
        rows = torch.arange(num_tasks * num_data, device="cpu").view(num_tasks, num_data)
        return cls(first, first + torch.arange(num_tasks, device="cpu"), first + rows)

    def select(self, tasks: Tensor) -> Identity:
        """That of some tasks."""
        at = tasks.cpu()
        return Identity(self.source, self.tasks[at], self.rows[at])

    def take_rows(self, index: Tensor) -> Identity:
        """That of the datapoints at positions index (tasks, width) of each task."""
        return Identity(self.source, self.tasks, self.rows.gather(1, index.cpu()))


def new_numbers() -> int:
    """The first of as many numbers as anyone needs, which nobody else has."""
    return secrets.randbits(62)
