"""What is one a datapoint, as a data frame: each value under the label of its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from bayesmeta.data.tasks import Tasks

if TYPE_CHECKING:
    import pandas as pd


def by_row(values: Mapping[str, Tensor], tasks: Tasks) -> pd.DataFrame:
    """One row a datapoint, in the order and by the index of the frame that the tasks came from.

    Without a frame, in the order of the tasks, by (task, row), with row the place in the task.

    Args:
        values: columns of shape (tasks, data, ...); of more than one number a datapoint, there is
            one column for each, as "mean[0]", "mean[1]".
        tasks: whose datapoints they are.
    """
    import pandas as pd

    mask = tasks.mask.cpu()
    columns = {}
    for name, value in values.items():
        cells = value.cpu()[mask].numpy()
        for at in np.ndindex(cells.shape[1:]):
            label = f"{name}[{', '.join(map(str, at))}]" if at else name
            columns[label] = cells[:, *at]
    if tasks.index is None:
        task, row = (at.numpy() for at in mask.nonzero(as_tuple=True))
        places = [np.array(tasks.names, dtype=object)[task], row]
        return pd.DataFrame(columns, pd.MultiIndex.from_arrays(places, names=("task", "row")))
    labels, order = tasks.index.of(mask)
    return pd.DataFrame(columns, labels).iloc[order.numpy()]
