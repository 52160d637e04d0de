"""PredictiveCalibration: whether numbers come about where a posterior says that they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.own_tasks import places_among
from bayesmeta.draws.predict import Prediction, observed, outcome_values
from bayesmeta.evaluation.places import CUTS, Strays, places, strays
from bayesmeta.evaluation.seen import notes_on_seen, quoted, with_any
from bayesmeta.posterior.posterior import Posterior
from bayesmeta.training import TrainingError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Of all rows together, of which each is held to its share (Bonferroni).
_LEVEL = 0.05
# The row of all tasks, and how many groups of sizes it is broken into.
ALL, _GROUPS = "all", 4
# Predictions of a datapoint, of all datapoints together, and at least; and numbers of an outcome.
_DRAWS, _PREDICTIONS, _FEWEST, _MOST = 1000, 20_000_000, 200, 16


@dataclass(frozen=True, eq=False, repr=False)
class PredictiveCalibration:
    """Where outcomes fall among what was predicted of them, and how often intervals hold them.

    Chance is that of the posterior itself: each of its draws of all datapoints together, at one
    theta and phi, takes the place of what was observed. So datapoints of a task, which are
    predicted by one phi, count for as much as they tell. Of a point estimate they are independent.

    Attributes:
        table: by number of the outcome and by size of a task's support ("all", "3", "4 to 9"):
            "count" of datapoints; "covers50" and "covers90", the share that central intervals
            hold, with "low50", "high50", "low90" and "high90", between which it is in 90 of 100
            calibrated cases; "width50" and "width90", the mean widths of these intervals, in units
            of the outcome; "bias", the mean place less 1/2, above 0 where outcomes are higher than
            predicted, with "low_bias" and "high_bias"; "p", how seldom places stray as far from
            uniform by chance, in whichever way; "verdict", how predictions are where that is below
            5%, shared by all rows: "too narrow", "too low", ..., or nothing.
        places: the probability integral transform of each datapoint by number, (datapoints,), in
            the order of the tasks: uniform in 0..1 where all is well.
        cuts: where the distribution functions of places are looked at.
        band: by number, between which they are at all cuts together in 95 of 100 calibrated cases,
            (2, cuts).
        draws: among how many predictions each outcome was placed.
        notes: sentences on datapoints that were seen in fitting.
    """

    table: pd.DataFrame
    places: Mapping[str, np.ndarray]
    cuts: np.ndarray
    band: Mapping[str, np.ndarray]
    draws: int
    notes: tuple[str, ...] = ()

    @property
    def failing(self) -> dict[tuple[str, str], str]:
        """By number and size, how predictions are that are not calibrated, in words."""
        found = self.table["verdict"]
        return {(str(name), str(size)): how for (name, size), how in found[found != ""].items()}

    def __str__(self) -> str:
        count = int(self.table["count"].xs(ALL, level="size").iloc[0])
        failing = self.failing
        verdict = "by more than chance" if failing else "no more than by chance"
        lines = [f"{count} datapoints among {self.draws} predictions: they stray {verdict}."]
        lines += self.notes
        for (name, size), how in failing.items():
            row = self.table.loc[(name, size)]
            where = name if size == ALL else f"{name}, tasks of {size} datapoints"
            lines.append(
                f"- {where}: predictions are {how}; intervals of 50% and 90% hold "
                f"{row['covers50']:.0%} and {row['covers90']:.0%}, by chance "
                f"{row['low50']:.0%}-{row['high50']:.0%} and {row['low90']:.0%}-{row['high90']:.0%}"
                f" (p {row['p']:.2g})"
            )
        return "\n".join([*lines, self.table.round(3).to_string()])

    def draw(self, axis: Axes, name: str | None = None, color: str = "C0") -> None:
        """Shares of places below each cut less the cut, on axes of the user's; grey is chance.

        Args:
            axis: where.
            name: which number of the outcome; by default the first.
            color: of the line.
        """
        name = next(iter(self.places)) if name is None else name
        below = (self.places[name][:, None] < self.cuts).mean(0)
        low, high = self.band[name] - self.cuts
        axis.fill_between(self.cuts, low, high, color="0.9", lw=0)
        axis.axhline(0, color="0.7", lw=1)
        axis.plot(self.cuts, below - self.cuts, color=color, label=name)
        axis.set(xlabel="place among predictions", ylabel="share below, less place", xlim=(0, 1))


def of_numbers(
    posterior: Posterior, query: Tasks, outcome: str, prediction: Prediction, seed: int
) -> PredictiveCalibration:
    """Of an outcome of the query that has an order; see `calibration`.

    Args:
        posterior, query, outcome, seed: as of `calibration`.
        prediction: of the query, which is made again where it has too few draws.

    Raises:
        TasksError: where nothing was observed.
        TrainingError: where predictions are no numbers.
    """
    import pandas as pd

    seen = observed(posterior.draws, query, outcome=outcome).cpu()
    if not bool(seen.any()):
        raise TasksError(f"the query has no datapoint in which '{outcome}' was observed; give some")
    values = outcome_values(posterior.draws, query, outcome=outcome).cpu().double()[seen]
    predicted = _predicted(posterior, query, outcome, prediction, seen)
    groups = _groups(posterior, query, seen)
    found, bands, rows, how = {}, {}, {}, {}
    for name, y, draws in _each(outcome, values, predicted):
        whole = places(y, draws, seed)
        found[name] = whole[0].numpy()
        widths = np.diff(np.quantile(draws.numpy(), [0.05, 0.25, 0.75, 0.95], axis=0), axis=0)
        for size, of in groups.items():
            strayed = strays(whole[:, of])
            rows[name, size] = _row(strayed, widths[:, of.numpy()])
            how[name, size] = strayed.how
            if size == ALL:
                bands[name] = np.stack([strayed.low.numpy(), strayed.high.numpy()])
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(list(rows), names=["number", "size"])
    table = table.astype({"count": int})
    # Chance is known by so many draws, which bound p from below.
    level = max(_LEVEL / len(rows), 1.5 / (len(predicted) + 1))
    table["verdict"] = np.where(table["p"] < level, list(how.values()), "")
    notes = notes_on_seen(posterior, query)
    return PredictiveCalibration(table, found, CUTS.numpy(), bands, len(predicted), notes)


def _predicted(
    posterior: Posterior, query: Tasks, outcome: str, prediction: Prediction, seen: Tensor
) -> Tensor:
    """Draws of the outcomes that were observed, (draws, datapoints, ...), evenly apart."""
    wanted = max(_FEWEST, min(_DRAWS, _PREDICTIONS // max(1, int(seen.sum()))))
    repeats = -(-wanted // prediction.draws.shape[:2].numel())
    if repeats > 1:
        prediction = posterior.predict(query, outcome=outcome, repeats=repeats)
    draws = prediction.draws.flatten(0, 1)
    kept = torch.linspace(0, len(draws) - 1, min(len(draws), wanted)).long()
    predicted = draws[kept.to(draws.device)].cpu().double()
    failed = predicted.isnan().reshape(*predicted.shape[:3], -1).any(-1).any(0)
    if (failed & seen).any():
        names = with_any(failed & seen, query)
        raise TrainingError(
            f"predictions are no numbers in {len(names)} of {len(query)} tasks ({quoted(names)}): "
            "draws of their phi, or of theta, are NaN or infinite, as where training went astray"
        )
    return predicted[:, seen]


def _each(outcome: str, values: Tensor, predicted: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each number of an outcome (datapoints, ...), sixteen of them at most, evenly apart."""
    shape = values.shape[1:]
    count = shape.numel()
    flat, draws = values.reshape(-1, count), predicted.reshape(*predicted.shape[:2], count)
    for k in torch.linspace(0, count - 1, min(_MOST, count)).round().long().tolist():
        place = torch.unravel_index(torch.tensor(k), shape) if shape else ()
        at = ", ".join(str(int(i)) for i in place)
        yield (f"{outcome}[{at}]" if at else outcome), flat[:, k], draws[:, :, k]


def _groups(posterior: Posterior, query: Tasks, seen: Tensor) -> dict[str, Tensor]:
    """Which datapoints (datapoints,) are of tasks of a size of support, of about as many tasks."""
    own = posterior.tasks.sizes.cpu()[places_among(query, posterior.tasks)]
    sizes = own.repeat_interleave(seen.sum(1))
    found = {ALL: torch.ones(len(sizes), dtype=torch.bool)}
    distinct = sizes.unique()
    if len(distinct) == 1:
        return found
    if len(distinct) <= _GROUPS:
        starts = distinct
    else:
        levels = torch.arange(_GROUPS) / _GROUPS
        starts = own[seen.any(1)].double().quantile(levels.double()).ceil().long().unique()
    for low, high in zip(starts, [*(starts[1:] - 1), distinct.max()], strict=True):
        members = (sizes >= low) & (sizes <= high)
        within = sizes[members]
        least, most = int(within.min()), int(within.max())
        found[f"{least}" if least == most else f"{least} to {most}"] = members
    return found


def _row(found: Strays, widths: np.ndarray) -> dict[str, float]:
    """A row of the table, of widths between quantiles (3, datapoints)."""
    row: dict[str, float] = {"count": widths.shape[1]}
    for name, (at, low, high) in (("50", found.covers50), ("90", found.covers90)):
        row |= {f"covers{name}": at, f"low{name}": low, f"high{name}": high}
    row |= {"width50": float(widths[1].mean()), "width90": float(widths.sum(0).mean())}
    at, low, high = found.bias
    return row | {"bias": at, "low_bias": low, "high_bias": high, "p": found.p}
