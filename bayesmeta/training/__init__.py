"""The one training loop: what learns theta, and networks, from one batch of tasks to the next.

- `fit_options`: what one call of fit was given
- `adam`: `Adam`: its settings, and the rate at each step
- `optimiser`: the steps of Adam, and their state
- `interrupt`: signals that wait until a step is whole
- `checkpoint`: the file that training resumes from
- `stepper`: the loss of a batch of tasks, with its gradient
- `objective`: what is minimised, and what training came to
- `store`: what is stored of a run, and when
- `loop`: the loop itself
"""

from bayesmeta.training.adam import Adam
from bayesmeta.training.checkpoint import CheckpointError
from bayesmeta.training.loop import TrainingError

__all__ = ["Adam", "CheckpointError", "TrainingError"]
