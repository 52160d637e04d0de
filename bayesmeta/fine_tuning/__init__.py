"""Transfer by fine-tuning: from theta on, an optimiser moves some of phi_i.

- `stages`: which layers move, how far and how fast
- `optimisers`: torch's, on tasks that know nothing of one another
- `held_out`: which datapoints are held out, and what is best on them
- `tuning`: the loop that moves them
"""

from bayesmeta.fine_tuning.stages import Full, Gradual, Probe, Stage, Surgical

__all__ = ["Full", "Gradual", "Probe", "Stage", "Surgical"]
