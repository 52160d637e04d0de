"""The figure of probe, then tune: errors where the data are, and everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter
from torch import Tensor

COLOURS = ("#009E73", "#D55E00", "#0072B2")
FLOOR = 1e-12


def draw_errors(errors: Mapping[str, Tensor], path: Path) -> None:
    """A panel for each kind of input; a dot for each network, a line at the median.

    Args:
        errors: by the way of tuning, (networks, 2).
        path: where the figure goes.
    """
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    heads = ("in the subspace of the target's data", "everywhere")
    for column, (axis, head) in enumerate(zip(axes, heads, strict=True)):
        for place, (colour, values) in enumerate(zip(COLOURS, errors.values(), strict=True)):
            shown = values[:, column].clamp(min=FLOOR)
            spread = torch.linspace(-0.16, 0.16, len(shown))
            axis.plot(place + spread, shown, "o", color=colour, alpha=0.6, ms=6, mew=0)
            middle = float(shown.median())
            axis.plot([place - 0.3, place + 0.3], [middle, middle], color=colour, lw=2)
            text = f"{middle:.2g}" if middle > FLOOR else "0"
            axis.annotate(text, (place + 0.33, middle), va="center", color=colour, fontsize=11)
        axis.set_yscale("log")
        axis.set_title(head, fontsize=12)
        names = [name.replace(", ", ",\n") for name in errors]
        axis.set_xticks(range(len(errors)), names, fontsize=11)
        axis.set_xlim(-0.5, len(errors) - 0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.yaxis.set_minor_formatter(NullFormatter())
    low = [10.0**k for k in range(-12, 1, 3)]
    axes[0].yaxis.set_major_locator(FixedLocator(low))
    axes[0].set_yticks(low, ["0", *(f"$10^{{{k}}}$" for k in range(-9, 1, 3))])
    axes[0].set_ylabel("mean squared error", fontsize=11)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")
