"""The figure of surgery: after each shift, the accuracy by what was fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#777777"
NAMES = {"last": "last layer", "all": "all layers", "none": "nothing"}


def draw_accuracies(found: Mapping[str, Mapping[str, Sequence[float]]], path: Path) -> None:
    """A panel a shift, a row a way: the mean with its standard error, and each network's dot.

    Args:
        found: accuracies in percent by shift and way, one for each network.
        path: where the figure goes.
    """
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True)
    for axis, (shift, ways) in zip(axes, found.items(), strict=True):
        shown = [way for way in ways if way != "none"]
        for row, way in enumerate(shown):
            values = torch.tensor(ways[way])
            colour = GREY if way == "all" else BLUE if way.startswith(("block", "last")) else ORANGE
            mean, error = float(values.mean()), float(values.std()) / len(values) ** 0.5
            axis.plot(values, [row] * len(values), "o", color=colour, alpha=0.3, ms=4, mew=0)
            axis.errorbar(mean, row, xerr=error, fmt="o", color=colour, ms=7, capsize=3, lw=1.5)
        middle = float(torch.tensor(ways["all"]).mean())
        axis.axvline(middle, color=GREY, lw=0.8, ls=":", zorder=0)
        axis.set_title(f"{shift} shift", fontsize=12)
        axis.set_yticks(range(len(shown)), [NAMES.get(way, way) for way in shown], fontsize=11)
        axis.set_xlabel("accuracy, %", fontsize=11)
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.08)
    axes[0].invert_yaxis()
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")
