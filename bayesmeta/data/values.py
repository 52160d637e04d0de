"""Values of any kind as a tensor that holds each of them as it was given, or an error in words."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError

# Python's own numbers have no precision that was chosen.
_PLAIN = {bool, int, float, type(None), np.ma.core.MaskedConstant}
_WHOLE = 2**53  # From here on not every whole number is a float64.
_CATEGORIES = (
    "encode categories as columns of 0 and 1 (pandas.get_dummies), or as integers "
    "(pandas.factorize) where the model looks them up; numbers written as text become numbers by "
    "pandas.to_numeric"
)
_REMEDIES = {
    "c": "give its real and imaginary parts apart",
    "m": "give durations as floats, such as days: column / numpy.timedelta64(1, 'D')",
    "M": "give dates as floats, such as days since the first: (column - column.min()) / "
    "numpy.timedelta64(1, 'D')",
    "U": _CATEGORIES,
    "S": _CATEGORIES,
    "V": "give each field as a column of its own",
}


class Values(NamedTuple):
    """One column with every value as it was given.

    Attributes:
        tensor: floats of 32 bits or more, or int64.
        hidden: bool of the tensor's shape, True where a masked array hides what it holds; None
            where nothing is hidden.
        own: whether floats have a precision of their own, as numpy's and torch's have; Python's
            floats and truth values have none.
    """

    tensor: Tensor
    hidden: Tensor | None = None
    own: bool = True


def read_values(name: str, values: Any) -> Values:
    """One column out of a tensor, array, masked array, series, nested lists or a number.

    Half precision is widened to 32 bits, truth values are 0 and 1, integers stay integers, and a
    missing object (None, pandas.NA) is NaN.

    Raises:
        TasksError: for what holds no numbers, or numbers that no tensor holds as they are.
    """
    if isinstance(values, Tensor):
        return Values(_of_tensor(name, values), own=values.dtype != torch.bool)
    kinds = _kinds(values)
    hidden = None
    if any(issubclass(kind, np.ma.MaskedArray) for kind in kinds):
        values, hidden = _bare(values), _hidden(name, values)
    if any(issubclass(kind, Tensor) for kind in kinds):
        values = _as_arrays(name, values)
    array = _array(name, values)
    is_plain = kinds <= _PLAIN
    if is_plain and array.dtype.kind == "f" and (np.abs(array) >= _WHOLE).any():
        array = np.asarray(values, dtype=object)  # with the digits of whole numbers among floats
    tensor = _of_array(name, array)
    own = not is_plain and array.dtype.kind not in "bO"
    return Values(tensor, hidden if hidden is None else torch.tensor(hidden), own)


def read_mask(mask: Any) -> Tensor:
    """True where there is a datapoint, out of truth values, or of 0 and 1.

    Raises:
        TasksError: for anything else, such as NaN, which is neither.
    """
    remedy = "give True (or 1) where there is a datapoint and False (or 0) where there is none"
    try:
        values = read_values("mask", mask)
    except TasksError as error:
        raise TasksError(
            f"mask holds no truth values ({str(error).split(';')[0]}); {remedy}"
        ) from None
    if values.hidden is not None and bool(values.hidden.any()):
        raise TasksError(f"mask is itself masked in {int(values.hidden.sum())} cells; {remedy}")
    neither = (values.tensor != 0) & (values.tensor != 1)
    if bool(neither.any()):
        culprit = values.tensor[neither][0].item()
        raise TasksError(f"mask holds {culprit:g}, which says neither yes nor no; {remedy}")
    return values.tensor.bool()


def _kinds(values: Any) -> set[type]:
    """The types of what nested lists hold; of anything else, its own."""
    if not isinstance(values, list | tuple):
        return {type(values)}
    kinds = {type(value) for value in values}
    nested = {kind for kind in kinds if issubclass(kind, list | tuple)}
    if not nested:
        return kinds
    return (kinds - nested).union(*(_kinds(v) for v in values if type(v) in nested))


def _bare(values: Any) -> Any:
    """The same without masks."""
    if isinstance(values, list | tuple):
        return [_bare(value) for value in values]
    return np.ma.getdata(values) if isinstance(values, np.ma.MaskedArray) else values


def _hidden(name: str, values: Any) -> np.ndarray:
    """Where masks hide a cell."""
    if isinstance(values, np.ma.MaskedArray):
        return np.ma.getmaskarray(values)
    if isinstance(values, list | tuple):
        return _array(name, [_hidden(name, value) for value in values]).astype(bool)
    return np.zeros(np.shape(values), dtype=bool)


def _as_arrays(name: str, values: Any) -> Any:
    """Nested lists with an array for each tensor."""
    if isinstance(values, list | tuple):
        return [_as_arrays(name, value) for value in values]
    return _of_tensor(name, values).cpu().numpy() if isinstance(values, Tensor) else values


def _array(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "toarray"):
        raise TasksError(
            f"column '{name}' is sparse ({type(values).__name__}), but every cell of a task is "
            "read; give column.toarray()"
        )
    try:
        return np.asarray(values)
    except ValueError as error:
        raise TasksError(
            f"column '{name}' is ragged, so it is no array ({error}); give tasks of "
            "different sizes to Tasks.from_list or Tasks.from_frame"
        ) from None


def _of_tensor(name: str, values: Tensor) -> Tensor:
    column = values.detach()
    refused = (
        (column.is_nested, "nested", "its tasks to Tasks.from_list, list(column.unbind())"),
        (column.is_quantized, "quantised", "column.dequantize()"),
        (column.is_meta, "on the device 'meta', which holds no values,", "a tensor with values"),
        (column.is_complex(), "complex", "its real and imaginary parts apart"),
        (column.layout is not torch.strided, f"sparse ({column.layout})", "column.to_dense()"),
    )
    for is_so, what, remedy in refused:
        if is_so:
            raise TasksError(
                f"column '{name}' is {what} and cannot be used as it is; give {remedy}"
            )
    if column.dtype == torch.bool:
        return column.to(torch.get_default_dtype())
    if column.is_floating_point():
        return column.float() if column.itemsize < 4 else column
    whole = column.long()
    if column.dtype == torch.uint64 and bool((whole < 0).any()):
        raise _too_large(name, int(whole[whole < 0][0]) + 2**64)
    return whole


def _of_array(name: str, array: np.ndarray) -> Tensor:
    kind = array.dtype.kind
    if kind == "O":
        return torch.from_numpy(_of_objects(name, array))
    if kind not in "fiub":
        such = f" (such as {str(array.flat[0])!r})" if array.size and kind in "US" else ""
        raise TasksError(
            f"column '{name}' has dtype {array.dtype}{such}, but numbers are expected; "
            f"{_REMEDIES.get(kind, _CATEGORIES)}"
        )
    if kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise _too_large(name, int(array.max()))
    if kind == "b":
        return torch.from_numpy(np.array(array)).to(torch.get_default_dtype())
    if kind in "iu":
        return torch.from_numpy(array.astype(np.int64))
    native = array.astype(np.float64 if array.itemsize > 4 else np.float32)
    changed = (native != array) & ~np.isnan(array)
    if changed.any():
        raise _too_large(name, array[changed][0])
    return torch.from_numpy(native)


def _of_objects(name: str, array: np.ndarray) -> np.ndarray:
    """Objects that are numbers, or missing, as int64 where all are whole numbers, else float64."""
    import pandas as pd

    items = [None if item is pd.NA else item for item in array.ravel().tolist()]
    for item in items:
        if not (item is None or isinstance(item, Real | Decimal | np.bool_)):
            raise TasksError(
                f"column '{name}' has dtype {array.dtype} and holds {type(item).__name__} "
                f"{str(item)[:40]!r}, but numbers are expected; {_remedy(item)}"
            )
    whole = [int(item) for item in items if isinstance(item, int | np.integer)]
    if items and len(whole) == len(items) and not all(isinstance(item, bool) for item in items):
        outside = [number for number in whole if not -(2**63) <= number < 2**63]
        if outside:
            raise _too_large(name, outside[0])
        return np.array(whole, dtype=np.int64).reshape(array.shape)
    for number in whole:
        if abs(number) > 2**1023 or float(number) != number:
            raise _too_large(name, number)
    floats = [np.nan if item is None else float(item) for item in items]
    return np.array(floats, dtype=np.float64).reshape(array.shape)


def _remedy(item: Any) -> str:
    """What to do about an object that is no number."""
    if isinstance(item, str | bytes):
        return _CATEGORIES
    if hasattr(item, "total_seconds"):
        return _REMEDIES["m"]
    if hasattr(item, "year"):
        return _REMEDIES["M"]
    if isinstance(item, complex):
        return _REMEDIES["c"]
    if isinstance(item, np.ndarray | Sequence | Tensor):
        return "put arrays into one, numpy.stack(column), for Tasks.from_list or from_arrays"
    return _CATEGORIES


def _too_large(name: str, value: Any) -> TasksError:
    return TasksError(
        f"column '{name}' holds {value}, which no whole number of 64 bits and no float64 holds as "
        "it is; subtract an offset, or divide by a unit, or, where it is an identifier, number it "
        "0, 1, ... by pandas.factorize"
    )
