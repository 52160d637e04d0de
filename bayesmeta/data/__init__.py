"""The datasets D_i = {(x_ij, y_ij)} of tasks i = 1..I: what the lecture's plates are drawn around.

- `arguments`: numbers given as arguments, checked
- `columns`: what columns must be, and the errors that name task and row
- `values`: values of any kind as tensors that hold each as it was given
- `precision`: the floating dtype in which no value changes
- `padding`: tasks of different sizes side by side
- `arrays`: what tasks are made of, out of arrays and lists
- `row_index`: which row a datapoint is: its number, and its place in a data frame
- `frames`: tasks out of a data frame with one row a datapoint
- `indexed_columns`: columns kept as positions in a table of examples
- `real_rows`: datapoints without padding
- `selection`: which tasks and which datapoints, as positions
- `tasks`: the datasets together, padded and masked: `Tasks`
- `query_checks`: whether a query scores anything that is not known
- `by_row`: what is one a datapoint, by the rows of the data frame
- `episodes`: N-way k-shot tasks out of labelled classes
- `size_groups`: ragged tasks in groups of like size
"""

from bayesmeta.data.columns import TasksError
from bayesmeta.data.episodes import Classes
from bayesmeta.data.tasks import Tasks

__all__ = ["Classes", "Tasks", "TasksError"]
