"""Where each datapoint stood in the data frame that it came from."""

from __future__ import annotations

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
