"""Which datapoints of some tasks are among those of others: by their numbers, or their values."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.tasks import Tasks

# Outcomes of few values, as 0 and 1, are equal by chance: more seldom than this they are not.
_BY_CHANCE = math.log(1e-6)
_DECIMALS = 6


def same_rows(tasks: Tasks, known: Tasks) -> Tensor:
    """Which datapoints of `tasks` are among those of `known`, bool (tasks, data), on the CPU.

    They are where they have the same numbers (`Tasks.identity`), as parts of what was made once
    have. What was made apart, as of a file that was read twice, is compared by value: all columns
    and the outcome, within tasks of the same name, where that is not by chance. With k values that
    outcomes could take by their range and rounding, n rows are among m rows of the same inputs by
    chance with probability (m / k)^n, in the same order with k^-n, and with more where the outcome
    is a frequent one. It has to be below 1e-6, over all tasks: of a row, of all rows of a task, or
    of all rows that there are.
    """
    mask = tasks.mask.cpu()
    ours, theirs = tasks.identity, known.identity
    found = torch.zeros_like(mask)
    if ours is not None and theirs is not None:
        found = torch.isin(ours.rows, theirs.rows[known.mask.cpu()]) & mask
        if ours.source == theirs.source:
            return found
    return found | _of_equal_values(tasks, known)


def _of_equal_values(tasks: Tasks, known: Tasks) -> Tensor:
    """Those that have equal values, where these are too many for chance, (tasks, data)."""
    mask = tasks.mask.cpu()
    none = torch.zeros_like(mask)
    place = {name: i for i, name in enumerate(known.names)}
    both = [i for i, name in enumerate(tasks.names) if name in place]
    if not both or not _are_comparable(tasks, known):
        return none
    there = torch.tensor([place[tasks.names[i]] for i in both])
    ours, theirs = tasks.select(torch.tensor(both)), known.select(there)
    if not bool(ours.mask.any()) or not bool(theirs.mask.any()):
        return none
    log_chance = _log_chances(ours, theirs)
    equal = none.clone()
    chances = torch.zeros(mask.shape, dtype=torch.float64)
    equal[both], chances[both] = log_chance.isfinite(), log_chance.nan_to_num(posinf=0.0)
    whole = equal.sum(1).eq(mask.sum(1)) & mask.any(1)
    task = whole & (chances.sum(1) < _BY_CHANCE - math.log(len(tasks)))
    row = equal & (chances < _BY_CHANCE - math.log(int(mask.sum())))
    everything = bool(equal.eq(mask).all()) and float(chances.sum()) < _BY_CHANCE
    return row | (equal & (task[:, None] | everything))


def _are_comparable(tasks: Tasks, known: Tasks) -> bool:
    """Whether both have the same columns, in memory, and outcomes."""
    if tasks.are_episodes or known.are_episodes or tasks.y is None or known.y is None:
        return False
    pairs = [(tasks.y, known.y), *((tasks.x[n], known.x[n]) for n in tasks.x if n in known.x)]
    shapes = all(a.shape[2:] == b.shape[2:] for a, b in pairs)
    return shapes and tasks.x.keys() == known.x.keys()


def _log_chances(tasks: Tasks, known: Tasks) -> Tensor:
    """log of how probably a row is by chance among the known ones of its task; inf if it is not.

    Shape (tasks, data), of the same tasks in the same order.
    """
    dtype = tasks.dtype if tasks.dtype == known.dtype else torch.float32
    (task, x, y), (known_task, known_x, known_y) = (_rows(t, dtype) for t in (tasks, known))
    inputs, known_inputs = _hashed(task, x), _hashed(known_task, known_x)
    rows, known_rows = _hashed(inputs, y), _hashed(known_inputs, known_y)
    is_known = np.isin(rows, known_rows)
    # How many rows there are for it to be equal to, and how probably it is equal to one.
    alike = _counts(inputs, known_inputs).clip(min=1)
    alike[_in_order(task, rows, known_task, known_rows)] = 1
    each = np.maximum(np.exp(-_log_possible(known_y, dtype)), _repeated(y, known_y))
    chance = np.log(np.minimum(1.0, alike * each))
    found = torch.full(tasks.mask.shape, torch.inf, dtype=torch.float64)
    found[tasks.mask.cpu()] = torch.from_numpy(np.where(is_known, chance, np.inf))
    return found


def _in_order(
    task: np.ndarray, rows: np.ndarray, known_task: np.ndarray, known_rows: np.ndarray
) -> np.ndarray:
    """Which of our rows are of a task that has all the known ones in their order."""
    count = int(max(task.max(), known_task.max())) + 1
    at, known_at = task.astype(np.int64), known_task.astype(np.int64)
    sizes, known_sizes = (np.bincount(places, minlength=count) for places in (at, known_at))
    fits = sizes == known_sizes
    same = np.zeros(len(rows), dtype=bool)
    ours, theirs = fits[at], fits[known_at]
    same[ours] = rows[ours] == known_rows[theirs]
    whole: np.ndarray = (np.bincount(at, same, minlength=count) == sizes)[at]
    return whole


def _repeated(y: np.ndarray, known_y: np.ndarray) -> np.ndarray:
    """How often the known outcomes repeat each of these, as a share of them; 0 for a single one."""
    ours, theirs = (_hashed(np.zeros(len(rows), np.uint64), rows) for rows in (y, known_y))
    return (_counts(ours, theirs) - 1).clip(min=0) / len(theirs)


def _rows(tasks: Tasks, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tasks' places (rows,), inputs (rows, numbers) and outcomes (rows, numbers)."""
    assert tasks.y is not None
    mask = tasks.mask.cpu()
    count = int(mask.sum())

    def flat(column: Tensor) -> np.ndarray:
        wide = column.expand(-1, tasks.num_data, *column.shape[2:]).cpu()
        cells = wide[mask].reshape(count, -1)
        cells = cells.to(dtype) if cells.is_floating_point() else cells
        # Zero has two signs, which are equal.
        return cells.double().numpy() + 0.0

    columns = [flat(tasks.x[name]) for name in sorted(tasks.x)]
    place = mask.nonzero()[:, 0].numpy().astype(np.uint64)
    return place, np.concatenate([np.empty((count, 0)), *columns], 1), flat(tasks.y)


def _hashed(start: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A number of 64 bits for each row, going on from `start`; equal where rows are equal."""
    found = start
    for column in np.ascontiguousarray(rows.T).view(np.uint64):
        # Steele, Lea & Flood (2014).
        mixed = (found + np.uint64(0x9E3779B97F4A7C15)) ^ column
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        found = mixed ^ (mixed >> np.uint64(31))
    return found


def _counts(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """How often each of ours is among theirs."""
    values, counts = np.unique(theirs, return_counts=True)
    at = np.searchsorted(values, ours).clip(max=len(values) - 1)
    return np.where(values[at] == ours, counts[at], 0)


def _log_possible(y: np.ndarray, dtype: torch.dtype) -> float:
    """log of how many values outcomes (rows, numbers) can take between the least and the largest.

    Those that were rounded to decimals, or to whole numbers, are as many as fit in their range.
    """
    finest = math.log(2) * (22 if dtype == torch.float32 else 50)
    total = 0.0
    for column in y.T:
        span, precision = float(np.ptp(column)), torch.finfo(dtype).eps
        for decimals in range(_DECIMALS + 1):
            scaled = column * 10.0**decimals
            if np.all(np.abs(scaled - np.round(scaled)) <= 4 * precision * np.abs(scaled)):
                total += min(finest, math.log1p(span * 10.0**decimals))
                break
        else:
            total += finest
    return total
