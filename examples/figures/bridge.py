"""The figure of the bridge: error against examples, for three starts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

COLOURS = {"scratch": "#777777", "pre-trained": "#D55E00", "meta-learned": "#0072B2"}


def draw_curves(curves: Mapping[str, Mapping[int, Tensor]], path: Path) -> None:
    """A line a start: the mean over waves, with its standard error.

    Args:
        curves: errors (tasks,) by start and examples.
        path: where the figure goes.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axis = figure.subplots()
    for name, points in curves.items():
        means = [float(v.mean()) for v in points.values()]
        errors = [float(v.std()) / len(v) ** 0.5 for v in points.values()]
        colour = COLOURS[name]
        axis.errorbar(
            list(points), means, errors, color=colour, marker="o", ms=5, capsize=2, label=name
        )
    axis.legend(title="start", frameon=False, fontsize=11)
    axis.set_xscale("log")
    axis.set_yscale("log")
    some = next(iter(curves.values()))
    axis.set_xticks(list(some), [str(n) for n in some])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("examples of the new wave", fontsize=11)
    axis.set_ylabel("mean squared error", fontsize=11)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")
