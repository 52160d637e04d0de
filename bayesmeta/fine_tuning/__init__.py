"""Transfer by fine-tuning: from theta on, an optimiser moves some of phi_i.

- `stages`: which layers move, how far and how fast
- `tuning`: the loop that moves them
"""

from bayesmeta.fine_tuning.stages import Full, Gradual, Probe, Stage, Surgical

__all__ = ["Full", "Gradual", "Probe", "Stage", "Surgical"]
