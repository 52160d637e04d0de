"""The picture of simulation-based calibration: ECDFs less uniform, and coverage under them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bayesmeta.trust.uniformity import bands

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmeta.trust.report import SBC

_FINE, _BAD, _BAND, _INK, _GREY = "#1b6a86", "#c23b22", "#e3e8ec", "#1e2a32", "#8a949b"
_ACROSS = 6
# Probabilities of central intervals; and at how many places ECDFs are drawn.
_LEVELS = np.linspace(0.02, 0.98, 49)
_CUTS = np.linspace(0, 1, 201)


def drawn(found: SBC, path: str | Path | None) -> Figure:
    """A column a quantity: its ECDF less that of uniform places, and what intervals cover."""
    failing = found.failing
    figure, pairs = in_columns(list(found.places))
    most = max([0.05, *(_reach(found, name) for name in pairs)])
    for name, (pair, is_first) in pairs.items():
        color = _BAD if name in failing else _FINE
        _difference(pair[0], found, name, color, most)
        _coverage(pair[1], found, name, color)
        _title(pair[0], name, color, failing.get(name))
        _sides(pair, is_first=is_first)
    _heading(figure, found)
    if path is not None:
        figure.savefig(path, dpi=200)
    return figure


def in_columns(names: list[str]) -> tuple[Figure, dict[str, tuple[np.ndarray, bool]]]:
    """A figure, and for each name two axes, one above the other, and whether they are leftmost."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    across = max(1, min(_ACROSS, len(names)))
    down = max(1, -(-len(names) // across))
    layout = ConstrainedLayoutEngine(h_pad=0.06, w_pad=0.06)
    figure = Figure((max(7.5, 2.6 * across), 0.9 + 4.6 * down), layout=layout)
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 * down, across, squeeze=False)
    places = [(axes[2 * r : 2 * r + 2, c], not c) for r in range(down) for c in range(across)]
    for pair, _ in places[len(names) :]:
        for axis in pair:
            axis.set_visible(False)
    return figure, dict(zip(names, places, strict=False))


def _heading(figure: Figure, found: SBC) -> None:
    failing, names = found.failing, found.places
    verdict = (
        f"{len(failing)} of {len(names)} quantities are not" if failing else "No failure found"
    )
    figure.suptitle(
        f"Calibrated?  {verdict}",
        fontsize=15,
        fontweight="bold",
        color=_BAD if failing else _INK,
    )
    figure.supxlabel(
        f"{found.pair}  -  {found.simulations} simulations  -  grey: 95% of calibrated fits",
        fontsize=10,
        color=_GREY,
    )


def _title(axis: Axes, name: str, color: str, how: str | None) -> None:
    said = {
        "draws explain the data worse than the truth does": "explains data badly",
        "draws explain the data better than the truth does": "overfits the data",
    }
    short = how or "no failure found"
    for long, brief in said.items():
        short = brief if long in short else short
    axis.set_title(name, fontsize=12, color=color, fontweight="bold", loc="left", pad=18)
    axis.text(0, 1.04, short, transform=axis.transAxes, fontsize=9, color=color)


def _ecdf(found: SBC, name: str) -> np.ndarray:
    place = np.sort(found.known(name))
    return np.searchsorted(place, _CUTS, side="right") / len(place) - _CUTS


def _reach(found: SBC, name: str) -> float:
    low, high = _band(found, name)
    return 1.15 * float(max(np.abs(_ecdf(found, name)).max(), -low.min(), high.max()))


def _band(found: SBC, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Within which ECDFs of uniform places are, less these, with both ends."""
    inner = _CUTS[1:-1]
    low, high = bands(len(found.known(name)), len(inner), 0.95)
    ends = [np.concatenate([[0.0], x - inner, [0.0]]) for x in (low, high)]
    # Counts are whole, which shows as teeth.
    return (
        np.minimum.reduce([np.roll(ends[0], k) for k in (-1, 0, 1)]) * (_CUTS > 0) * (_CUTS < 1),
        np.maximum.reduce([np.roll(ends[1], k) for k in (-1, 0, 1)]) * (_CUTS > 0) * (_CUTS < 1),
    )


def _difference(axis: Axes, found: SBC, name: str, color: str, most: float) -> None:
    """The ECDF of places less that of uniform ones, and the simultaneous band."""
    axis.fill_between(_CUTS, *_band(found, name), color=_BAND, lw=0)
    axis.axhline(0, color=_GREY, lw=0.8)
    axis.plot(_CUTS, _ecdf(found, name), color=color, lw=1.8, solid_joinstyle="round")
    axis.set(xlim=(0, 1), ylim=(-most, most), xticks=[0, 0.5, 1])
    axis.set_xticklabels(["0", "0.5", "1"])
    axis.set_xlabel("place of the truth", fontsize=9, color=_INK)


def _coverage(axis: Axes, found: SBC, name: str, color: str) -> None:
    """The share of central intervals that hold the truth, by their probability."""
    from scipy import stats

    place = found.known(name)
    inside = (np.abs(place[:, None] - 0.5) < _LEVELS / 2).mean(0)
    null = stats.binom(len(place), _LEVELS)
    low, high = (null.ppf(q) / len(place) for q in (0.025, 0.975))
    axis.fill_between(_LEVELS, low, high, color=_BAND, lw=0)
    axis.plot([0, 1], [0, 1], color=_GREY, lw=0.8)
    axis.plot(_LEVELS, inside, color=color, lw=1.8, solid_joinstyle="round")
    axis.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axis.set_xticklabels(["0", "50%", "100%"])
    axis.set_xlabel("central interval", fontsize=9, color=_INK)


def _sides(pair: np.ndarray, *, is_first: bool) -> None:
    """Spines, and labels on the left of a row alone."""
    for axis, label in zip(pair, ("ECDF - uniform", "holds the truth"), strict=True):
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(_GREY)
        axis.tick_params(colors=_INK, labelsize=9, color=_GREY)
        if is_first:
            axis.set_ylabel(label, fontsize=10, color=_INK)
        else:
            axis.set_yticklabels([])
    if is_first:
        pair[1].set_yticklabels(["0", "50%", "100%"])
