"""calibration: whether outcomes come about as often as they are said to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.predict import observed, outcome_values
from bayesmeta.evaluation.predictive_calibration import PredictiveCalibration, of_numbers
from bayesmeta.evaluation.scores import is_binary
from bayesmeta.evaluation.seen import notes_on_seen
from bayesmeta.posterior.posterior import Posterior

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_SETS, _LEVELS = 2000, (0.05, 0.5, 0.95)
# Distributions of classes that have an order.
_ORDERED = ("OrderedLogistic",)


@dataclass(frozen=True)
class Calibration:
    """How often the class that is thought most probable is the right one, by that probability.

    Attributes:
        table: by bin of that probability: "count", "confidence", its mean, "accuracy", and "low"
            and "high", between which accuracy is in 90 of 100 such sets where calibration is
            perfect and datapoints are independent.
        expected: the calibration error of these sets: the 5%, 50% and 95% quantile. It is not 0,
            as few datapoints of a bin are right as often as they are said to be by chance alone.
        notes: sentences on datapoints that were seen in fitting.
    """

    table: pd.DataFrame
    expected: tuple[float, float, float]
    notes: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence|, averaged over datapoints."""
        gap = (self.table["accuracy"] - self.table["confidence"]).abs()
        return float((gap * self.table["count"]).sum() / self.table["count"].sum())

    def __str__(self) -> str:
        low, _, high = self.expected
        found = "more than" if self.error > high else "no more than"
        said = (
            f"expected calibration error {self.error:.3f} over {self.table['count'].sum()} "
            f"datapoints, {found} chance: of perfect calibration it is {low:.3f} to {high:.3f} at "
            "this size"
        )
        return "\n".join([said, *self.notes, self.table.round(3).to_string()])

    def draw(self, axis: Axes, label: str | None = None, color: str = "C0") -> None:
        """Accuracy against confidence, on axes of the user's; in the grey bars all is well."""
        axis.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
        where, low, high = (self.table[name] for name in ("confidence", "low", "high"))
        axis.vlines(where, low, high, color="0.85", lw=6, zorder=0)
        axis.plot(self.table["confidence"], self.table["accuracy"], "o-", color=color, label=label)
        axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))


def calibration(
    posterior: Posterior,
    query: Tasks,
    *,
    bins: int = 15,
    outcome: str | None = None,
    seed: int = 0,
) -> Calibration | PredictiveCalibration:
    """Whether what is predicted comes about as often as said, on datapoints not seen before.

    Of classes, categorical or Bernoulli, it is the reliability of their probabilities, a
    `Calibration`: means over draws; bins are of equal width (Guo, Pleiss, Sun & Weinberger 2017),
    and those without datapoints are left out. What chance alone would give is drawn 2,000 times,
    each datapoint right with the probability that is said (Broecker & Smith 2007).

    Of other outcomes, continuous, counts or ordered classes, it is the place of each among draws of
    `predict`, a `PredictiveCalibration`: r of L draws below it and t equal to it make

        (r + u (t + 1)) / (L + 1),   u uniform in 0..1

    uniform where all is well (Dawid 1984; Czado, Gneiting & Held 2009), with coverage and width of
    central intervals, for all datapoints and by size of the tasks' support, four groups at most.
    What chance gives is found by the draws themselves, each in the place of what was observed:
    they are of all datapoints together, so that those of one task stray together. It is for every
    pair of strategies; a point estimate is asked for many outcomes (`predict(repeats=)`). Some
    1,000 draws are used, fewer of more than 20,000 datapoints; of an outcome of many numbers
    sixteen are looked at, one by one. Ordered classes (`OrderedLogistic`) are judged so, and not by
    reliability, as it looks at the most probable class alone, and not at which side of it the
    others are: their places tell of all P(y <= k), and of predictions that are too low.

    Where datapoints of the query were seen in fitting, `notes` say so.

    Args:
        posterior: of the tasks.
        query: datapoints of the same tasks that it has not seen.
        bins: of probabilities, how many; of classes without an order alone.
        outcome: which observed site; None is for a model that has one.
        seed: of u, and of the order of equal draws; of numbers alone.

    Raises:
        StructureError: where the model has several outcomes, or none of that name.
        TasksError: where the query has no y, or a class that the model does not have.
        TrainingError: where predictions of numbers are NaN.
        ValueError: where there is no bin.
    """
    check_whole("calibration", "bins", bins)
    check_seed("calibration", seed)
    name = posterior.structure.outcome(outcome)
    prediction = posterior.predict(query, outcome=name)
    chances = prediction.mean
    if query.y is None:
        raise TasksError("the query has no outcomes to compare with; give tasks with y")
    y, there = query.y, query.mask
    if outcome is not None:
        y = outcome_values(posterior.draws, query, outcome=name)
        there = observed(posterior.draws, query, outcome=name)
    if is_binary(posterior, name, y):
        chances = torch.stack([1 - chances, chances], -1)
    if chances.dim() != y.dim() + 1:
        return of_numbers(posterior, query, name, prediction, seed)
    known, seen = chances.shape[-1], y[there].cpu()
    if seen.min() < 0 or seen.max() >= known:
        raise TasksError(
            f"the query has classes from {float(seen.min()):g} to {float(seen.max()):g}, but the "
            f"model has {known}: 0 to {known - 1}"
        )
    if posterior.structure.nodes[name].distribution in _ORDERED:
        return of_numbers(posterior, query, name, prediction, seed)
    confidence, chosen = (x[there].cpu() for x in chances.max(-1))
    found = _of(confidence.double(), chosen == seen.to(chosen), bins)
    return replace(found, notes=notes_on_seen(posterior, query))


def _of(confidence: Tensor, right: Tensor, bins: int) -> Calibration:
    """What is said of datapoints, (datapoints,), and which of them are right."""
    import pandas as pd

    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    found, place = torch.unique(place, return_inverse=True)
    generator = torch.Generator().manual_seed(0)
    count, said, accuracy = (
        _sums(place, x) for x in (torch.ones_like(confidence), confidence, right)
    )
    sums = torch.stack(
        [
            _sums(place, torch.rand(confidence.shape, generator=generator) < confidence)
            for _ in range(_SETS)
        ]
    )
    errors = (sums - said).abs().sum(-1) / len(confidence)
    levels = torch.tensor(_LEVELS, dtype=torch.float64)
    low, high = (sums / count).quantile(levels[[0, -1]], 0)
    columns = {
        "count": count.long(),
        "confidence": said / count,
        "accuracy": accuracy / count,
        "low": low,
        "high": high,
    }
    names = [f"{k / bins:.2f}-{(k + 1) / bins:.2f}" for k in found.tolist()]
    table = pd.DataFrame({n: x.numpy() for n, x in columns.items()}, pd.Index(names))
    table.index.name = "probability"
    at = errors.quantile(levels).tolist()
    return Calibration(table, (at[0], at[1], at[2]))


def _sums(place: Tensor, values: Tensor) -> Tensor:
    """Sums by bin, (bins,)."""
    return torch.bincount(place, values.double())
