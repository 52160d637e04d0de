"""The figure of completed images: what was seen, what is predicted, and how sure."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor

import bayesmeta as bm

SEEN = (10, 40, 150)
UNSEEN_COLOUR = "#4A7FB5"


def draw_completions(post: bm.Posterior, grey: Tensor, places: Tensor, path: Path) -> None:
    """A row a drawing; for each number of pixels seen these, the mean, and the sd.

    Args:
        post: trained on pixels.
        grey: drawings (count, pixels).
        places: of the pixels, (pixels, 2), row by row.
        path: where the figure goes.
    """
    count, size = grey.shape
    side = round(size**0.5)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(3))
    columns = 1 + 3 * len(SEEN)
    figure, axes = plt.subplots(count, columns, figsize=(columns, 1.05 * count + 0.5))
    everywhere = bm.Tasks.from_arrays(None, {"x": places.expand(count, -1, -1)})
    for row, drawing in enumerate(grey):
        _show(axes[row, 0], drawing.view(side, side))
    for block, number in enumerate(SEEN):
        index = order[:number]
        known = bm.Tasks.from_arrays(
            grey[:, index], {"x": places[index].expand(count, -1, -1)}, names=everywhere.names
        )
        found = post.adapt(known).predict(everywhere)
        for row in range(count):
            seen = torch.full((size,), torch.nan)
            seen[index] = grey[row, index]
            for column, image in enumerate((seen, found.mean[row], found.sd[row])):
                axis = axes[row, 1 + 3 * block + column]
                _show(axis, image.view(side, side), 0.5 if column == 2 else 1.0)
        for column, title in enumerate((f"{number} pixels", "mean", "sd")):
            axes[0, 1 + 3 * block + column].set_title(title, fontsize=9)
    axes[0, 0].set_title("drawing", fontsize=9)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=200)
    plt.close(figure)
    print(f"figure: {path}")


def _show(axis: Axes, image: Tensor, most: float = 1.0) -> None:
    """Ink bright, paper dark, what is not known blue."""
    axis.set_facecolor(UNSEEN_COLOUR)
    axis.imshow(image, cmap="gray", vmin=0.0, vmax=most)
    axis.set_xticks([])
    axis.set_yticks([])
