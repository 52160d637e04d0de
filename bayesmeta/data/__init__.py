"""The datasets D_i = {(x_ij, y_ij)} of tasks i = 1..I: what the lecture's plates are drawn around.

- `arguments`: numbers given as arguments, checked
- `columns`: arrays of any kind as checked, padded columns
- `arrays`: what tasks are made of, out of arrays and lists
- `frames`: tasks out of a data frame with one row a datapoint
- `indexed_columns`: columns kept as positions in a table of examples
- `padding`: what padded cells hold, and statistics without them
- `selection`: which tasks and which datapoints, as positions
- `tasks`: the datasets together, padded and masked: `Tasks`
- `episodes`: N-way k-shot tasks out of labelled classes
- `size_groups`: ragged tasks in groups of like size
"""

from bayesmeta.data.columns import TasksError
from bayesmeta.data.episodes import Classes
from bayesmeta.data.tasks import Tasks

__all__ = ["Classes", "Tasks", "TasksError"]
