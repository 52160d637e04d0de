"""The figure of the neural processes: a function as more of its points are seen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes

import bayesmeta as bm
from bayesmeta.models import neural_process

SEEN = (3, 8, 30)
# Okabe and Ito's vermilion for the network, and their blue for the process itself.
NETWORK, PROCESS = "#D55E00", "#0072B2"


def draw_functions(models: Mapping[str, bm.Posterior], path: Path, seed: int = 5) -> None:
    """A row a model, a column a number of points: the mean and 90% of the predictive.

    Args:
        models: trained, by name.
        path: where the figure goes.
        seed: of the function.
    """
    grid = torch.linspace(-2.0, 2.0, 201)
    inputs = bm.Tasks.from_arrays(None, x={"x": grid[None, :, None]}, names=["f"])
    whole = neural_process.tasks(1, max(SEEN), 1, seed=seed)
    x, y = whole.x["x"], whole.y
    size = (3.4 * len(SEEN), 2.3 * len(models))
    figure, axes = plt.subplots(
        len(models), len(SEEN), figsize=size, sharex=True, sharey=True, squeeze=False
    )
    for column, count in enumerate(SEEN):
        some = bm.Tasks.from_arrays(y[:, :count], {"x": x[:, :count]}, names=["f"])
        axes[0, column].set_title(f"{count} points")
        for row, (name, post) in enumerate(models.items()):
            axis = axes[row, column]
            found = post.adapt(some).predict(inputs, repeats=40 if name == "latent" else 2000)
            band = [found.quantile(q)[0] for q in (0.05, 0.95)]
            _draw_process(axis, some, grid)
            axis.fill_between(grid, *band, color=NETWORK, alpha=0.22, lw=0, label="90% of y")
            axis.plot(grid, found.mean[0], color=NETWORK, lw=1.8, label="mean")
            axis.plot(x[0, :count, 0], y[0, :count], "o", color="black", ms=3.5, label="seen")
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_ylim(-3, 3)
            if column == 0:
                axis.set_ylabel(name)
    for axis in axes[-1]:
        axis.set_xlabel("x")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, ncols=len(labels), loc="lower center", frameon=False)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")


def _draw_process(axis: Axes, some: bm.Tasks, grid: torch.Tensor) -> None:
    mean, sd = neural_process.exact_predictive(some, grid[None, :, None])
    for side, label in ((-1.645, "exact 90%"), (1.645, None)):
        axis.plot(grid, mean[0] + side * sd[0], color=PROCESS, lw=1, ls="--", label=label)
    axis.plot(grid, mean[0], color=PROCESS, lw=1, label="exact mean")
