"""The one training loop: what learns theta, and networks, from one batch of tasks to the next.

- `fit_options`: what one call of fit was given
- `schedule`: Adam's settings
- `optimiser`: Adam, and its state
- `interrupt`: Ctrl-C that waits until a step is whole
- `checkpoint`: the file that training resumes from
- `stepper`: the loss of a batch, with its gradient
- `objective`: what is minimised, and what training came to
- `loop`: the loop
"""

from bayesmeta.training.checkpoint import CheckpointError
from bayesmeta.training.loop import TrainingError
from bayesmeta.training.schedule import Adam

__all__ = ["Adam", "CheckpointError", "TrainingError"]
