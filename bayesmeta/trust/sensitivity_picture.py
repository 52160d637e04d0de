"""The picture of sensitivity: how the mean and sd of each number move, by what is scaled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmeta.trust.sensitivity import Sensitivity

_HEIGHT, _ROW, _WIDTH, _INK, _GREY = 1.2, 0.32, 3.2, "#1e2a32", "#8a949b"
_BAD, _FINE = "#c23b22", "#1b6a86"


def drawn(found: Sensitivity, path: str | Path | None) -> Figure:
    """A panel a role, a row a number: mean +- sd under both powers, in posterior sds."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = list(found.table.index)
    # Without those that draws say nothing of.
    roles = [role for role in found.pareto_k if found.table[role].notna().any()] or list(
        found.pareto_k
    )
    size = (_WIDTH * len(roles) + 1, _HEIGHT + _ROW * len(names))
    figure = Figure(size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(roles), sharey=True, sharex=True, squeeze=False)[0]
    for role, axis in zip(roles, axes, strict=True):
        _panel(axis, found, role)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    figure.supxlabel(
        f"mean +- sd where it counts {1 / found.alpha:.2g} (above) and {found.alpha:.3g} times "
        "(below), from the posterior's, in its sds",
        fontsize=9,
        color=_GREY,
    )
    if path is not None:
        figure.savefig(path, dpi=200)
    return figure


def _panel(axis: Axes, found: Sensitivity, role: str) -> None:
    axis.axvspan(-1, 1, color="0.93", lw=0, zorder=0)
    axis.axvline(0, color="0.8", lw=1, zorder=0)
    moments = found.moments.xs(role, level="role").loc[found.table.index]
    unit = moments["sd", 1.0]
    for power, offset in ((1 / found.alpha, -0.17), (found.alpha, 0.17)):
        at = (moments["mean", power] - moments["mean", 1.0]) / unit
        wide = moments["sd", power] / unit
        for k, diagnosis in enumerate(found.table["diagnosis"]):
            color = _BAD if diagnosis else _FINE
            axis.plot(at.iloc[k], k + offset, "o", color=color, ms=4)
            ends = at.iloc[k] - wide.iloc[k], at.iloc[k] + wide.iloc[k]
            axis.hlines(k + offset, *ends, color=color, lw=1)
    axis.set_title(role, loc="left", color=_INK, fontsize=11)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
