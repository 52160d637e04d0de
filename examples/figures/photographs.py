"""The figure of reliability: how often each way is right, by how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

import bayesmeta as bm

COLOURS = {
    "probe": "#009E73",
    "fine-tuning": "#D55E00",
    "probe, then tune": "#0072B2",
    "Laplace, scale 0.1": "#CC79A7",
}


def draw_reliability(found: Mapping[str, bm.Calibration], path: Path) -> None:
    """A line for each way, of the last target.

    Args:
        found: by way; those without a colour are left out.
        path: where the figure goes.
    """
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axis = figure.subplots()
    for name, colour in COLOURS.items():
        label = f"{name}: {100 * found[name].error:.1f}%"
        found[name].draw(axis, label, colour)
    axis.set_xlabel("probability of the class chosen", fontsize=11)
    axis.set_ylabel("share of these that are right", fontsize=11)
    axis.legend(title="expected calibration error", frameon=False, fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")
