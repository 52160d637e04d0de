"""How the lecture's figures look: colours, sizes, labels at the lines themselves."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

# Okabe and Ito: safe for the colour-blind.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"


def panels(count: int, size: tuple[float, float] = (5.0, 3.8)) -> tuple[Figure, list[Axes]]:
    """A figure with panels side by side, each of this size in inches, ready to be drawn on."""
    layout = ConstrainedLayoutEngine(w_pad=0.1)
    figure = Figure(figsize=(size[0] * count, size[1]), layout=layout)
    axes = [figure.add_subplot(1, count, 1 + i) for i in range(count)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=11)
        axis.title.set_fontsize(13)
        for label in (axis.xaxis.label, axis.yaxis.label):
            label.set_fontsize(12)
    return figure, axes


def label(
    axis: Axes, x: float, y: float, text: str, color: str, *, ha: str = "left", va: str = "baseline"
) -> None:
    """Words at a point of the panel, in the colour of what they name."""
    axis.text(x, y, text, color=color, fontsize=11.5, ha=ha, va=va)
