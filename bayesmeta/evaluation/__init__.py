"""Whether what was learned holds for data and tasks that were held out.

- `seen`: which datapoints a posterior has seen
- `cross_validate`: log scores of datapoints held out
- `search_space`: whether trials are of the same ranges and choices
- `search`: hyperparameters by cross-validation
- `scores`: what a posterior makes of a query
- `comparable`: scores of the same numbers, on one scale
- `compare`: models by what they predict of datapoints held out
- `learning_curve`: error by the number of tasks and shots
- `places`: where outcomes fall among predictions, and where by chance
- `predictive_calibration`: whether intervals of numbers hold what they say
- `calibration`: whether outcomes come about as often as said
- `amortisation_gap`: what one pass of a network loses
"""

from bayesmeta.evaluation.amortisation_gap import amortisation_gap
from bayesmeta.evaluation.calibration import Calibration, calibration
from bayesmeta.evaluation.compare import Comparison, compare
from bayesmeta.evaluation.cross_validate import cross_validate
from bayesmeta.evaluation.learning_curve import LearningCurve, learning_curve
from bayesmeta.evaluation.predictive_calibration import PredictiveCalibration
from bayesmeta.evaluation.search import search

__all__ = [
    "Calibration",
    "Comparison",
    "LearningCurve",
    "PredictiveCalibration",
    "amortisation_gap",
    "calibration",
    "compare",
    "cross_validate",
    "learning_curve",
    "search",
]
