"""A task's datapoints as rows of numbers, as an encoder reads them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks

# Between the quartiles of a standard normal; in spreads, how far out a number is read as it is.
_QUARTILES, _FAR = 1.3490, 5.0


def rows_of(tasks: Tasks, without: Collection[str]) -> Tensor:
    """Columns and y side by side, (tasks, data, numbers); what is of the task is repeated.

    Args:
        tasks: the data.
        without: names of columns that are left out.
    """
    columns = [tasks.x[name] for name in sorted(set(tasks.x).difference(without))]
    columns += [] if tasks.y is None else [tasks.y]
    flat = [c.to(tasks.dtype).reshape(*c.shape[:2], -1) for c in columns]
    return torch.cat([c.expand(-1, tasks.num_data, -1) for c in flat], -1)


def units_of(parts: Sequence[Tasks], without: Collection[str]) -> Tensor:
    """Median and spread of each number over all datapoints, (2, numbers).

    The spread is what the sd of a normal is by its quartiles, so that a single wrong row does not
    matter; the sd where more than half of the numbers are equal, and 1 where all are.
    """
    rows = torch.cat([rows_of(part, without)[part.mask] for part in parts])
    if not len(rows):
        return torch.stack([rows.new_zeros(rows.shape[1]), rows.new_ones(rows.shape[1])])
    low, middle, high = _quartiles(rows.double()).to(rows.dtype)
    sd, spread = torch.std_mean(rows, 0, correction=0)[0], (high - low) / _QUARTILES
    spread = torch.where(spread > 0, spread, sd)
    return torch.stack([middle, torch.where(spread > 0, spread, 1.0)])


def in_units(rows: Tensor, units: Tensor, places: int) -> Tensor:
    """The rows less median, by spread; what is far out by its logarithm, and places as they are.

        r = (x - median) / spread,   sign(r) (c + log(1 + |r| - c)) where |r| > c = 5

    A network sees where outliers are without being moved by them as far.
    """
    r = (rows - units[0]) / units[1]
    far = r.abs().clamp(min=_FAR)
    tamed = torch.where(r.abs() > _FAR, r.sign() * (_FAR + (far - _FAR).log1p()), r)
    return torch.cat([rows[..., :places], tamed[..., places:]], -1)


def _quartiles(rows: Tensor) -> Tensor:
    """(3, numbers); torch's own quantile takes at most 16 million numbers."""
    ordered = rows.sort(0).values
    at = torch.tensor([0.25, 0.5, 0.75]) * (len(rows) - 1)
    return ordered[at.round().long().to(rows.device)]
