"""learning_curve: error on new tasks by how many tasks were learned from, and how many shots."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tqdm import tqdm

from bayesmeta.data.arguments import check_seed, check_whole
from bayesmeta.data.columns import TasksError
from bayesmeta.data.tasks import Tasks
from bayesmeta.draws.same_rows import same_rows
from bayesmeta.engine.noise import seeds
from bayesmeta.evaluation.compare import compare
from bayesmeta.evaluation.seen import quoted, with_any
from bayesmeta.fit import fit
from bayesmeta.phi.base import Phi
from bayesmeta.running.handlers import Model
from bayesmeta.theta.base import Theta

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURES = {"error": "error", "log_score": "log score, nats a datapoint"}


@dataclass(frozen=True)
class LearningCurve:
    """Scores of new tasks by what was seen.

    Attributes:
        table: one row for each "tasks" (learned from), "shots" (of each new task) and "repeat"
            (which tasks and shots those were), with "log_score", "log_score_error" and "error" as
            `compare` has them.
    """

    table: pd.DataFrame

    def __str__(self) -> str:
        means = self.table.pivot_table(index="tasks", columns="shots", values=list(_MEASURES))
        return str(means.round(3).to_string())

    def draw(self, path: str | Path | None = None, measure: str = "error") -> Figure:
        """A line for each number of tasks, against shots: the mean over repeats, and their sd.

        Args:
            path: a file for the figure; None draws it only.
            measure: "error" or "log_score".
        """
        from matplotlib.figure import Figure

        if measure not in _MEASURES:
            raise ValueError(f"draw got measure={measure!r}; there are {', '.join(_MEASURES)}")
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axis = figure.subplots()
        counts = sorted(self.table["tasks"].unique())
        for place, count in enumerate(counts):
            of_count = self.table[self.table["tasks"] == count].groupby("shots")[measure]
            colour = _colour(place, len(counts))
            mean, sd = of_count.mean(), of_count.std().fillna(0.0)
            axis.errorbar(mean.index, mean, sd, color=colour, marker="o", ms=5, capsize=2, lw=1.8)
            _name(
                axis, f"{count} task{'s' if count > 1 else ''}", mean.index[0], mean.iloc[0], colour
            )
        axis.set_xlabel("shots: datapoints of the new task", fontsize=11)
        axis.set_ylabel(_MEASURES[measure], fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.16)
        if path is not None:
            figure.savefig(path, dpi=150)
        return figure


def learning_curve(
    model: Model,
    source: Tasks,
    target: Tasks,
    *,
    theta: Theta | None = None,
    phi: Phi | None = None,
    tasks: Sequence[int],
    shots: Sequence[int],
    repeats: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> LearningCurve:
    """Fit to more and more source tasks, and adapt to more and more datapoints of new ones.

        curve = bm.learning_curve(model, source, target, tasks=[5, 20], shots=[0, 2, 8])
        curve.draw("curve.png")

    All of a repeat are judged by the same datapoints: what is left of each target task when it gave
    the most shots. Fewer shots are some of the more.

    Args:
        model: a Pyro function of the tasks.
        source: tasks to learn theta from.
        target: new tasks, with more datapoints than the most shots.
        theta: as in `fit`.
        phi: as in `fit`.
        tasks: how many source tasks, chosen at random.
        shots: how many datapoints of each target task.
        repeats: how often source tasks and shots are chosen anew.
        seed: chooses tasks and datapoints, and is that of the fits.
        progress: whether to show a progress bar.

    Raises:
        TasksError: where there are fewer source tasks or datapoints than asked for, or datapoints
            are in both.
    """
    import pandas as pd

    check_whole("learning_curve", "repeats", repeats)
    check_seed("learning_curve", seed)
    _check(source, target, tasks, shots)
    if (known := same_rows(target, source)).any():
        raise TasksError(
            f"the target's tasks {quoted(with_any(known, target))} are among those to learn from, "
            "so that theta would have seen what it is judged by; give other tasks, as in "
            "source, target = tasks[:20], tasks[20:]"
        )
    rows = []
    runs = list(itertools.product(range(repeats), sorted(tasks)))
    for repeat, count in tqdm(runs, "learning curve", disable=not progress):
        # Of its own: the next seed's first repeat is not this one's second.
        chooses, splits, *fits = seeds(seed, 2 + len(tasks), repeat=repeat)
        generator = torch.Generator().manual_seed(chooses)
        chosen = torch.randperm(len(source), generator=generator)[:count]
        fit_seed = fits[sorted(tasks).index(count)]
        post = fit(
            model, source.select(chosen), theta=theta, phi=phi, seed=fit_seed, progress=False
        )
        most, query = target.split(max(shots), splits)
        for n in sorted(shots):
            adapted = post.adapt(most.split(n, splits)[0])
            found = compare({"model": adapted}, query).overall.iloc[0]
            kept = {name: found[name] for name in ("log_score", "log_score_error", "error")}
            rows.append({"tasks": count, "shots": n, "repeat": repeat, **kept})
    return LearningCurve(pd.DataFrame(rows))


def _check(source: Tasks, target: Tasks, tasks: Sequence[int], shots: Sequence[int]) -> None:
    for count in tasks:
        check_whole("learning_curve", "tasks", count)
    for count in shots:
        check_whole("learning_curve", "shots", count, least=0)
    if not tasks or max(tasks) > len(source):
        raise TasksError(
            f"tasks={list(tasks)} were asked for, and there are {len(source)} source tasks; give "
            f"numbers from 1 to {len(source)}"
        )
    least = int(target.sizes.min())
    if not shots or max(shots) >= least:
        raise TasksError(
            f"shots={list(shots)} were asked for, and the smallest target task has {least} "
            "datapoints, of which some must be left to judge by; give numbers from 0 to "
            f"{least - 1}"
        )


def _colour(place: int, count: int) -> tuple[float, float, float]:
    """From light to dark blue."""
    depth = 1.0 if count == 1 else 0.35 + 0.65 * place / (count - 1)
    return tuple(1 - depth * (1 - shade) for shade in (0.0, 0.3, 0.55))  # type: ignore[return-value]


def _name(axis: Axes, text: str, x: float, y: float, colour: tuple[float, float, float]) -> None:
    """Words left of a line's first point."""
    axis.annotate(
        text,
        (x, y),
        (-7, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        color=colour,
        fontsize=10,
    )
