"""The figure of pooling: error by county size for each model, and by what was learned from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import bayesmeta as bm

COLOURS = ("#777777", "#D55E00", "#0072B2", "#009E73")


def draw_pooling(compared: bm.Comparison, curve: bm.LearningCurve, path: Path) -> None:
    """Left: each model's log score with its error; right: new counties, by shots and counties.

    Args:
        compared: the models on held-out houses.
        curve: of one model.
        path: where the figure goes.
    """
    figure = Figure(figsize=(10.4, 3.9), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.0, 1.15))
    table = compared.overall.iloc[::-1]
    for row, (_, values) in enumerate(table.iterrows()):
        colour = COLOURS[row % len(COLOURS)]
        left.errorbar(
            -values["behind"], row, xerr=values["behind_error"], fmt="o", color=colour, capsize=3
        )
        left.annotate(
            f"error {values['error']:.3f}",
            (-values["behind"], row),
            (0, 9),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=10,
        )
    left.set_yticks(range(len(table)), list(table.index), fontsize=11)
    left.set_ylim(-0.5, len(table) - 0.3)
    left.set_xlabel("log score beside the best, nats a house", fontsize=11)
    left.margins(x=0.15)
    left.set_title("houses held out of counties with two seen", fontsize=12)

    groups = curve.table.groupby(["tasks", "shots"])["log_score"]
    mean, sd = groups.mean().unstack(), groups.std().fillna(0.0).unstack()
    for place, count in enumerate(mean.index):
        shade = str(0.65 - 0.65 * place / max(1, len(mean.index) - 1))
        right.errorbar(
            np.asarray(mean.columns),
            mean.loc[count],
            sd.loc[count],
            color=shade,
            marker="o",
            capsize=2,
        )
        right.annotate(
            f"{count} counties",
            (mean.columns[-1], mean.loc[count].iloc[-1]),
            (7, 0),
            textcoords="offset points",
            va="center",
            color=shade,
            fontsize=10,
        )
    right.set_xticks(list(mean.columns))
    right.set_xlabel("houses seen of the new county", fontsize=11)
    right.set_ylabel("log score, nats a house", fontsize=11)
    right.set_xlim(-0.1, mean.columns[-1] * 1.3)
    right.set_title("new counties, by how many were learned from", fontsize=12)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")
