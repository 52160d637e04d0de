"""What a task tells theta, and is told by the others: tasks left out, whole.

- `left_out`: which tasks can be left out of theta
- `moment_matching`: draws moved towards what their weights ask for
- `without_a_task`: theta without one of its tasks
- `subsample`: sums over many tasks of which few were looked at
- `leave_one_task_out`: the score of each task by all others
"""

from bayesmeta.influence.leave_one_task_out import TaskScores, leave_one_task_out

__all__ = ["TaskScores", "leave_one_task_out"]
