"""Which floating dtype holds values as they were given, and what fewer digits would change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError, first_cell, place
from bayesmeta.data.values import Values

_DTYPES = (torch.float32, torch.float64)
# Rounding is noise, and none that matters where it is a thousandth of a standard deviation.
_OF_AN_SD = 1e-3
_AT_ONCE = 10_000


def common_dtype(columns: Iterable[Values]) -> torch.dtype:
    """The floating dtype in which no value of the columns changes; torch's default if that can be.

    It is that of the columns that have a precision of their own, or float64 where a whole number,
    or a Python float as it was written, would be another there.
    """
    columns = list(columns)
    of_their_own = [v.tensor.dtype for v in columns if v.own and v.tensor.is_floating_point()]
    # Half precision is no default to compute in.
    default = torch.promote_types(torch.get_default_dtype(), torch.float32)
    least = of_their_own[0] if of_their_own else default
    for dtype in of_their_own:
        least = torch.promote_types(least, dtype)
    return least if all(_holds(least, values) for values in columns) else torch.float64


def dtype_of_table(table: Tensor) -> torch.dtype:
    """The floating dtype in which examples are read: float32 where that changes none."""
    if table.is_floating_point():
        return torch.promote_types(table.dtype, torch.float32)
    return torch.float32 if _have_bits(table, 24) else torch.float64


def dtype_of_rows(name: str, rows: Sequence[Values]) -> tuple[torch.dtype, bool]:
    """The dtype in which rows stand beside each other, and whether it is of their own.

    Raises:
        TasksError: where whole numbers stand beside floats, none of which is equal to them.
    """
    dtype = rows[0].tensor.dtype
    for row in rows[1:]:
        dtype = torch.promote_types(dtype, row.tensor.dtype)
    whole = [row.tensor for row in rows if not row.tensor.is_floating_point()]
    if not dtype.is_floating_point or all(_have_bits(column, 24) for column in whole):
        return dtype, any(row.own for row in rows if row.tensor.is_floating_point())
    if not all(_have_bits(column, 53) for column in whole):
        raise TasksError(
            f"column '{name}' has whole numbers in some tasks and floats in others, and holds "
            "whole numbers that no float64 is; give integers in all tasks"
        )
    return torch.float64, True


def check_whole(column: Tensor, real: Tensor, names: Sequence[str]) -> None:
    """Refuse outcomes that are whole numbers which no float64 is.

    Raises:
        TasksError: naming task and row.
    """
    if column.is_floating_point() or _have_bits(column, 53):
        return
    at = first_cell(_odd_part(column).abs() >= 2**53, real)
    if at is not None:
        raise TasksError(
            f"y is {column[at].flatten().tolist()} {place(at, names)}, which as an outcome is a "
            "float64, and none is equal; subtract an offset while it is an integer, or divide by a "
            "unit"
        )


def check_dtype(dtype: torch.dtype) -> None:
    """Refuse a dtype in which no model runs.

    Raises:
        TasksError: naming it.
    """
    if dtype not in _DTYPES:
        raise TasksError(
            f"dtype={dtype} was given, but tasks are of torch.float32 or torch.float64; columns "
            "of integers stay integers beside it"
        )


def check_kept(name: str, column: Tensor, dtype: torch.dtype, names: Sequence[str]) -> None:
    """Refuse a column that another dtype would change by more than rounding that is noise.

    That is, by a thousandth of its standard deviation, within tasks or in all; whole numbers, which
    stay integers, but not where a model multiplies them; what becomes infinite, or zero.

    Raises:
        TasksError: naming the column, and the task and row that change most.
    """
    if dtype == torch.float64 or column.dtype == dtype:
        return
    if not column.is_floating_point():
        if _have_bits(column, 24):
            return
        column = column.double()
    rounded = column.to(dtype).to(column.dtype)
    error = (column - rounded).abs()
    largest = column.abs().amax((0, 1))
    lost = ~torch.isfinite(rounded) | ((rounded == 0) & (column != 0))
    lost |= error > _OF_AN_SD * _spread(column, largest)
    if bool((column == column.round()).all()) and float(largest.max()) < 2**53:
        lost |= error > 0
    at = first_cell(lost & (error == error[lost].max()) if bool(lost.any()) else lost)
    if at is not None:
        which = lost[at]
        raise TasksError(
            f"column '{name}' would change in {dtype}: {column[at][which].flatten()[0].item()!r} "
            f"to {rounded[at][which].flatten()[0].item()!r} {place(at, names)}; stay in "
            f"{column.dtype} (for a posterior of {dtype}, fit again, to tasks.to(dtype="
            f"{column.dtype})), or subtract an offset and rescale"
        )


def _spread(column: Tensor, largest: Tensor) -> Tensor:
    """The standard deviation within tasks, or else of all, or the size of a constant; (...)."""
    unit = column / largest.clamp(min=torch.finfo(column.dtype).tiny)
    inside = (unit - unit.mean(1, keepdim=True)).square().mean((0, 1)).sqrt()
    whole = unit.flatten(0, 1).std(0, correction=0)
    spread = torch.where(inside > 1e-12, inside, torch.where(whole > 1e-12, whole, 1.0))
    return largest * spread


def _holds(dtype: torch.dtype, values: Values) -> bool:
    """Whether a dtype keeps values; a Python float, with the digits that it was written with."""
    column = values.tensor
    if not column.is_floating_point():
        return dtype == torch.float64 or _have_bits(column, 24)
    if values.own or column.dtype == dtype:
        return True
    rounded = column.to(dtype)
    other = (rounded.to(column.dtype) != column) & ~column.isnan()
    pairs = zip(rounded[other].split(_AT_ONCE), column[other].split(_AT_ONCE), strict=True)
    return all(bool((_as_written(few) == many.cpu()).all()) for few, many in pairs)


def _as_written(column: Tensor) -> Tensor:
    """The numbers of the shortest decimals that stand for these floats."""
    return torch.from_numpy(column.cpu().numpy().astype(str).astype("float64"))


def _have_bits(column: Tensor, bits: int) -> bool:
    """Whether whole numbers are floats of so many binary digits."""
    if not column.numel() or max(-int(column.min()), int(column.max())) <= 2**bits:
        return True
    return bool((_odd_part(column).abs() < 2**bits).all())


def _odd_part(column: Tensor) -> Tensor:
    """Whole numbers without their factors of two, which a float has in its exponent."""
    return column // torch.where(column == 0, 1, column & -column)
