"""The figure of the sinusoids: what a few gradient steps make of two starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch

import bayesmeta as bm
from bayesmeta.models import sinusoid

# Light to dark with the steps; Okabe and Ito's blue for the wave itself.
SHADES = ("#F0C9A8", "#E6934F", "#B34700")
WAVE = "#0072B2"


def draw_adaptation(
    models: Mapping[str, bm.Posterior],
    waves: bm.Tasks,
    steps: Sequence[int],
    lr: float,
    path: Path,
) -> None:
    """A row a wave, a column a model: the wave, the points seen, and the network after the steps.

    Args:
        models: what is compared, by name.
        waves: the support of the waves of seed 1, from the first on.
        steps: how many gradient steps, each a line.
        lr: their size.
        path: where the figure goes.
    """
    grid = torch.linspace(-5.0, 5.0, 201)
    inputs = bm.Tasks.from_arrays(
        None, x={"x": grid.expand(len(waves), -1)[..., None]}, names=waves.names
    )
    truth = sinusoid.truth(1000, seed=1)
    size = (4.2 * len(models), 2.6 * len(waves))
    figure, axes = plt.subplots(
        len(waves), len(models), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for column, (name, post) in enumerate(models.items()):
        axes[0, column].set_title(name)
        for count, shade in zip(steps, SHADES, strict=True):
            adapted = post.adapt(waves, phi=bm.GradientSteps(count, lr))
            curves = adapted.predict(inputs).mean
            label = f"{count} step{'' if count == 1 else 's'}"
            for row in range(len(waves)):
                axes[row, column].plot(grid, curves[row], color=shade, lw=1.8, label=label)
    for row in range(len(waves)):
        wave = truth["amplitude"][row] * torch.sin(grid - truth["phase"][row])
        for axis in axes[row]:
            axis.plot(grid, wave, color=WAVE, lw=1.2, ls="--", label="the wave", zorder=3)
            axis.plot(
                waves.x["x"][row, :, 0],
                waves.y[row],
                "o",
                color=WAVE,
                ms=5,
                mec="white",
                label="points seen",
                zorder=4,
            )
            axis.spines[["top", "right"]].set_visible(False)
        axes[row, 0].set_ylabel("y")
    for axis in axes[-1]:
        axis.set_xlabel("x")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")
