"""A task's datapoints as rows of numbers, as an encoder reads them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks
from bayesmeta.model.reading import Reading

# Between the quartiles of a standard normal; in spreads, how far out a number is read as it is.
_QUARTILES, _FAR = 1.3490, 5.0
# More classes, as of words, are read as a number.
_MOST_CLASSES = 1000


def rows_of(tasks: Tasks, reading: Reading) -> Tensor:
    """Columns and y side by side, (tasks, data, numbers); what is of the task is repeated.

    A y that names classes is as many numbers, 1 at its class and 0 elsewhere. Columns that hold
    phi, as simulated tasks have it, are left out.
    """
    flat = [column.expand(-1, tasks.num_data, -1) for column in _columns(tasks, reading).values()]
    return torch.cat(flat, -1)


def names_of(tasks: Tasks, reading: Reading) -> list[str]:
    """Of which column each number of a row is."""
    columns = _columns(tasks, reading)
    return [name for name, column in columns.items() for _ in range(column.shape[-1])]


def units_of(parts: Sequence[Tasks], reading: Reading) -> Tensor:
    """Median and spread of each number over all datapoints, (2, numbers).

    The spread is what the sd of a normal is by its quartiles, so that a single wrong row does not
    matter; the sd where more than half of the numbers are equal, and 1 where all are.
    """
    rows = torch.cat([rows_of(part, reading)[part.mask] for part in parts])
    if not len(rows):
        return torch.stack([rows.new_zeros(rows.shape[1]), rows.new_ones(rows.shape[1])])
    low, middle, high = _quartiles(rows.double()).to(rows.dtype)
    sd, spread = torch.std_mean(rows, 0, correction=0)[0], (high - low) / _QUARTILES
    spread = torch.where(spread > 0, spread, sd)
    return torch.stack([middle, torch.where(spread > 0, spread, 1.0)])


def range_of(parts: Sequence[Tasks], reading: Reading) -> Tensor:
    """The least and the most of each number, (2, numbers); without datapoints, everything."""
    found = []
    for part in parts:
        for chunk in part.chunks(0):
            some = part.select(chunk)
            rows = rows_of(some, reading)
            low, high = (
                rows.masked_fill(~some.mask[..., None], end) for end in (torch.inf, -torch.inf)
            )
            found.append(torch.stack([low.amin((0, 1)), -high.amax((0, 1))]))
    ends = torch.stack(found).amin(0) * torch.tensor([[1.0], [-1.0]]).to(found[0])
    return torch.where(ends[0] > ends[1], -ends, ends)


def _columns(tasks: Tasks, reading: Reading) -> dict[str, Tensor]:
    """By name, each (tasks, data or 1, numbers)."""
    names = sorted(set(tasks.x).difference(reading.structure.phi))
    columns = {f"x['{name}']": tasks.x[name] for name in names}
    if tasks.y is not None:
        columns["y"] = _indicators(tasks.y, reading.classes)
    return {n: c.to(tasks.dtype).reshape(*c.shape[:2], -1) for n, c in columns.items()}


def _indicators(y: Tensor, classes: int | None) -> Tensor:
    if classes is None or classes > _MOST_CLASSES:
        return y
    return y[..., None] == torch.arange(classes, device=y.device)


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
