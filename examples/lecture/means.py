"""The mean of independent values, with its standard error."""

from __future__ import annotations

from torch import Tensor


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Of values (n,)."""
    return float(values.mean()), float(values.std()) / len(values) ** 0.5
