"""The picture of recovery: posterior means against truths, and z against contraction."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesmeta.trust.picture import in_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmeta.trust.report import SBC

_DOT, _BAND, _INK, _GREY = "#1b6a86", "#e3e8ec", "#1e2a32", "#8a949b"


def drawn(found: SBC, path: str | Path | None) -> Figure:
    """A column a quantity: what was found of the truth, and how much the data told of it."""
    figure, pairs = in_columns(list(found.places))
    for name, (pair, is_first) in pairs.items():
        _recovered(pair[0], found, name, is_first=is_first)
        _told(pair[1], found, name, is_first=is_first)
    figure.supxlabel(f"{found.pair}  -  {found.simulations} simulations", fontsize=10, color=_GREY)
    if path is not None:
        figure.savefig(path, dpi=200)
    return figure


def _values(found: SBC, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truths, posterior sds and z where all are numbers."""
    truth, sd, z = found.truths[name], found.sds[name], found.z[name]
    there = np.isfinite(truth) & np.isfinite(sd) & np.isfinite(z)
    return truth[there], sd[there], z[there]


def _recovered(axis: Axes, found: SBC, name: str, *, is_first: bool) -> None:
    truth, sd, z = _values(found, name)
    if not len(truth):
        axis.text(0.5, 0.5, "a point: no width", ha="center", color=_GREY, transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
    mean = truth + z * sd
    axis.errorbar(truth, mean, sd, fmt="none", ecolor=_DOT, alpha=0.25, lw=0.8)
    axis.plot(truth, mean, "o", color=_DOT, ms=3, mec="none", alpha=0.8)
    if len(truth):
        ends = [min(truth.min(), mean.min()), max(truth.max(), mean.max())]
        axis.plot(ends, ends, color=_GREY, lw=1, zorder=0)
    axis.set(xlabel="truth", ylabel="posterior mean and sd" if is_first else None)
    axis.set_title(name, loc="left", fontsize=12, fontweight="bold", color=_INK)
    axis.spines[["top", "right"]].set_visible(False)


def _told(axis: Axes, found: SBC, name: str, *, is_first: bool) -> None:
    truth, sd, z = _values(found, name)
    axis.axhspan(-2, 2, color=_BAND, lw=0, zorder=0)
    if len(truth) > 1 and truth.var() > 0:
        contraction = 1 - np.square(sd) / truth.var()
        axis.plot(np.maximum(contraction, -0.25), z, "o", color=_DOT, ms=3, mec="none", alpha=0.8)
    reach = max(3.5, 1.1 * float(np.abs(z).max(initial=0)))
    axis.set(xlim=(-0.28, 1.03), ylim=(-reach, reach), xlabel="contraction")
    axis.set_ylabel("z of the posterior mean" if is_first else "")
    axis.spines[["top", "right"]].set_visible(False)
