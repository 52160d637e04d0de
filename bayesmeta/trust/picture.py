"""The picture of simulation-based calibration: ECDFs less uniform, and coverage beside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesmeta.trust.uniformity import bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmeta.trust.report import SBC

_FINE, _BAD, _BAND, _INK = "#1f6f8b", "#c8452f", "#e6e9ec", "#222222"
_ACROSS = 4
_LEVELS = np.linspace(0.02, 0.98, 49)


def drawn(found: SBC, path: str | Path | None) -> Figure:
    """A panel a quantity, and under it what central intervals cover."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names, failing = list(found.places), found.failing
    across = min(_ACROSS, max(1, len(names)))
    down = -(-len(names) // across)
    size = max(6.0, 3.1 * across), 1.0 + 4.0 * down
    figure = Figure(size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * down, across, squeeze=False, gridspec_kw={"hspace": 0.08})
    for i, name in enumerate(names):
        row, column = 2 * (i // across), i % across
        color = _BAD if name in failing else _FINE
        _difference(axes[row, column], found, name, color, failing.get(name))
        _coverage(axes[row + 1, column], found, name, color)
        if not column:
            axes[row, 0].set_ylabel("ECDF - uniform")
            axes[row + 1, 0].set_ylabel("holds the truth")
    for i in range(len(names), across * down):
        for axis in axes[2 * (i // across) : 2 * (i // across) + 2, i % across]:
            axis.set_visible(False)
    verdict = f"{len(failing)} of {len(names)} fail" if failing else "no failure found"
    figure.suptitle(
        f"Where the truth is among the draws: {verdict}\n"
        f"{found.pair}; {found.simulations} simulations; grey: 95% of calibrated fits",
        fontsize=12,
        color=_INK,
    )
    if path is not None:
        figure.savefig(path, dpi=200)
    return figure


def _difference(axis: Axes, found: SBC, name: str, color: str, how: str | None) -> None:
    """The ECDF of places less that of uniform ones, and the simultaneous band."""
    place = np.sort(found.known(name))
    cuts = np.linspace(0, 1, 201)
    low, high = (x - cuts[1:-1] for x in bands(len(place), len(cuts) - 2, 0.95))
    ends = np.zeros(1)
    axis.fill_between(
        cuts,
        np.concatenate([ends, low, ends]),
        np.concatenate([ends, high, ends]),
        color=_BAND,
        lw=0,
    )
    ecdf = np.searchsorted(place, cuts, side="right") / max(1, len(place))
    axis.axhline(0, color="0.6", lw=0.8)
    axis.step(cuts, ecdf - cuts, color=color, lw=1.8, where="mid")
    most = 1.25 * max(0.05, np.abs(ecdf - cuts).max(), np.abs(low).max(), np.abs(high).max())
    axis.set(xlim=(0, 1), ylim=(-most, most), xticks=[0, 0.5, 1], xticklabels=[])
    axis.set_title(name, fontsize=12, color=color, fontweight="bold")
    if how:
        axis.text(0.5, 0.03, how, transform=axis.transAxes, ha="center", fontsize=9, color=color)
    _plain(axis)


def _coverage(axis: Axes, found: SBC, name: str, color: str) -> None:
    """The share of central intervals that hold the truth, by their probability."""
    from scipy import stats

    place = found.known(name)
    inside = (np.abs(place[:, None] - 0.5) < _LEVELS / 2).mean(0)
    null = stats.binom(len(place), _LEVELS)
    axis.fill_between(
        _LEVELS, null.ppf(0.025) / len(place), null.ppf(0.975) / len(place), color=_BAND, lw=0
    )
    axis.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    axis.plot(_LEVELS, inside, color=color, lw=1.8)
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axis.set_xticklabels(["0", "50%", "100%"])
    axis.set_yticklabels(["0", "50%", "100%"])
    axis.set_xlabel("central interval", fontsize=9)
    _plain(axis)


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color("0.5")
    axis.tick_params(colors="0.3", labelsize=9)
