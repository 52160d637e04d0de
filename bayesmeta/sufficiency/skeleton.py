"""A few rows of a matrix by which all its rows are known, one matrix a task."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Beside the largest number of a column, all of which are brought to 1.
_NOTHING = 1e-10
_SPARE = 4


class Skeleton(NamedTuple):
    """Rows J of matrices V (tasks, data, columns) with V = weights V[J].

    Attributes:
        rows: J, (tasks, rank): where a task has fewer, the last ones count for nothing.
        weights: (tasks, data, rank), 1 at each row itself; 0 on padding.
    """

    rows: Tensor
    weights: Tensor


def skeleton(values: Tensor, mask: Tensor) -> Skeleton | None:
    """The rows that an elimination with pivots picks (Cheng et al. 2005, skeletonisation).

    Where columns are a function of the datapoint at random places, and more of them leave the rank
    as it is, each further one is the same sum of its values at these rows.

    Args:
        values: V (tasks, data, columns), in float64.
        mask: which data there are, (tasks, data).

    Returns:
        None where some task has no fewer rows than columns, but a few.
    """
    size = (values.abs() * mask[..., None]).amax(1, keepdim=True)
    scaled = torch.where(mask[..., None], values / size.clamp(min=torch.finfo(size.dtype).tiny), 0)
    rows, is_row, left = list[Tensor](), list[Tensor](), scaled.clone()
    each = torch.arange(len(values))
    while True:
        lengths = left.square().sum(-1)
        longest, row = lengths.max(1)
        goes_on = longest > (_NOTHING**2) * values.shape[-1]
        if not goes_on.any():
            break
        if len(rows) + _SPARE >= values.shape[-1]:
            return None
        direction = (
            left[each, row] / longest.clamp(min=torch.finfo(size.dtype).tiny).sqrt()[:, None]
        )
        for _ in range(2):  # Once leaves what rounding leaves.
            along = left @ direction[..., None]
            left = left - torch.where(goes_on[:, None, None], along * direction[:, None], 0.0)
        rows.append(row)
        is_row.append(goes_on)
    if not rows:
        return None
    chosen, counts = torch.stack(rows, 1), torch.stack(is_row, 1)
    basis = torch.where(counts[..., None], scaled[each[:, None], chosen], 0.0)
    weights = torch.linalg.lstsq(basis.mT, scaled.mT, driver="gelsd").solution.mT
    off = (weights @ basis - scaled).abs().amax()
    return Skeleton(chosen, weights) if off < 100 * _NOTHING else None
