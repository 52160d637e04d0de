"""calibration: whether classes come about as often as they are said to."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from matplotlib.axes import Axes

from bayesmeta.data.arguments import check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.model.checks import StructureError
from bayesmeta.posterior.posterior import Posterior


@dataclass(frozen=True)
class Calibration:
    """How often the class that is thought most probable is the right one, by that probability.

    Attributes:
        table: by bin of that probability: "count", "confidence", its mean, and "accuracy".
    """

    table: pd.DataFrame

    @property
    def error(self) -> float:
        """Expected calibration error: |accuracy - confidence|, averaged over datapoints."""
        gap = (self.table["accuracy"] - self.table["confidence"]).abs()
        return float((gap * self.table["count"]).sum() / self.table["count"].sum())

    def __str__(self) -> str:
        return (
            f"expected calibration error {self.error:.3f} over {self.table['count'].sum()} "
            f"datapoints\n{self.table.round(3).to_string()}"
        )

    def draw(self, axis: Axes, label: str | None = None, color: str = "C0") -> None:
        """Accuracy against confidence, on axes of the user's; on the diagonal all is well."""
        axis.plot([0, 1], [0, 1], color="0.7", lw=1, zorder=0)
        axis.plot(self.table["confidence"], self.table["accuracy"], "o-", color=color, label=label)
        axis.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))


def calibration(posterior: Posterior, query: Tasks, *, bins: int = 15) -> Calibration:
    """Reliability of class probabilities on datapoints that the posterior has not seen.

    Probabilities are means over draws; bins are of equal width (Guo, Pleiss, Sun & Weinberger
    2017), and those without datapoints are left out.

    Args:
        posterior: of the tasks.
        query: datapoints of the same tasks.
        bins: how many.

    Raises:
        StructureError: where the outcome is no class.
        TasksError: where the query has no y, or a class that the model does not have.
        ValueError: where there is no bin.
    """
    check_whole("calibration", "bins", bins)
    chances = posterior.predict(query).mean
    if query.y is None:
        raise TasksError("the query has no outcomes to compare with; give tasks with y")
    if chances.dim() != query.y.dim() + 1:
        raise StructureError(
            "calibration is of classes, but the outcome is no categorical one; for numbers, "
            "compare how often predict(...).quantile(q) is above the outcome with q"
        )
    known, seen = chances.shape[-1], query.y[query.mask]
    if seen.min() < 0 or seen.max() >= known:
        raise TasksError(
            f"the query has classes from {float(seen.min()):g} to {float(seen.max()):g}, but the "
            f"model has {known}: 0 to {known - 1}"
        )
    confidence, chosen = (x[query.mask] for x in chances.max(-1))
    right = (chosen == query.y[query.mask].to(chosen)).double()
    place = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1
    rows = {
        f"{k / bins:.2f}-{(k + 1) / bins:.2f}": {
            "count": int((place == k).sum()),
            "confidence": float(confidence[place == k].double().mean()),
            "accuracy": float(right[place == k].mean()),
        }
        for k in torch.unique(place).tolist()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "probability"
    return Calibration(table)
