"""The picture of a price: how far each pair is from the reference, against its seconds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT, _WIDTH, _INK, _BAND = 4.2, 4.6, "0.25", "0.9"


def drawn(table: pd.DataFrame, path: str | Path | None) -> Figure:
    """One panel for theta and one for phi, saved where there is a path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    levels = [level for level in ("theta", "phi") if f"{level} distance" in table]
    size = _WIDTH * len(levels), _HEIGHT
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.08))
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(levels), squeeze=False)
    for level, axis in zip(levels, axes[0], strict=True):
        _panel(axis, table, level)
    if path is not None:
        figure.savefig(path, dpi=200)
    return figure


def _panel(axis: Axes, table: pd.DataFrame, level: str) -> None:
    """Pairs as points with their names; below the grey all is Monte Carlo error."""
    found = table.dropna(subset=[f"{level} distance"])
    seconds, apart = found["seconds"], found[f"{level} distance"]
    noise = apart.iloc[0]
    # Draws that are the reference's own have no distance, which a logarithm does not show.
    apart = apart.clip(lower=noise / 10)
    axis.set(xscale="log", yscale="log", xlabel="seconds")
    axis.set_ylabel("distance from the reference, in its sds")
    axis.set_title(level, loc="left", color=_INK)
    axis.spines[["top", "right"]].set_visible(False)
    low, high = min(apart.min(), noise) / 2, apart.max() * 2
    axis.axhspan(low, noise, color=_BAND, lw=0, zorder=0)
    axis.set(ylim=(low, high), xlim=(seconds.min() / 1.6, seconds.max() * 12))
    axis.text(
        0.99, 0.015, "Monte Carlo error", color="0.5", fontsize=8, ha="right", va="bottom",
        transform=axis.transAxes,
    )  # fmt: skip
    for k, (name, x, y) in enumerate(zip(found.index, seconds, apart, strict=True)):
        axis.plot(x, y, "s" if k == 0 else "o", color="0.5" if k == 0 else "C0", ms=7)
        axis.annotate(
            f" {name}", (x, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9,
            color=_INK,
        )  # fmt: skip
