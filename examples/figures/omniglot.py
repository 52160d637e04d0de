"""The figure of an episode: what was shown of each character, and where queries were put."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from torch import Tensor

import bayesmeta as bm

RIGHT, WRONG = "#0072B2", "#D55E00"
_SHOWN = 6


def draw_episode(episode: bm.Tasks, probabilities: Tensor, path: Path) -> None:
    """A row a class: its support image, then queries with the class chosen and its probability.

    Args:
        episode: one task with its query.
        probabilities: of each query image's classes, (data, classes).
        path: where the figure goes.
    """
    ways = probabilities.shape[1]
    query, labels = episode.query.x["image"][0, :, 0], episode.query.y[0]
    support = episode.x["image"][0, :, 0]
    figure, axes = plt.subplots(
        ways, 1 + _SHOWN, figsize=(1.25 * (1 + _SHOWN) + 0.4, 1.5 * ways), layout="constrained"
    )
    for k in range(ways):
        shown = support[(episode.y[0] == k).nonzero()[0, 0]]
        _draw(axes[k, 0], shown, f"class {k + 1}", "black")
        chosen = (labels == k).nonzero()[:_SHOWN, 0].tolist()
        for axis, i in zip(axes[k, 1:], chosen, strict=False):
            best = int(probabilities[i].argmax())
            colour = RIGHT if best == k else WRONG
            _draw(axis, query[i], f"{best + 1} ({probabilities[i, best]:.0%})", colour)
    heads = "shown once", "to be told apart: the class chosen and its probability"
    for axis, head in zip(axes[0], heads, strict=False):
        # Outside the layout, which would make the column as wide as its head.
        at = axis.annotate(head, (0.0, 1.22), xycoords="axes fraction", weight="bold")
        at.set_in_layout(False)
    figure.get_layout_engine().set(rect=(0.0, 0.0, 1.0, 0.96))
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"figure: {path}")


def _draw(axis: Axes, image: Tensor, title: str, colour: str) -> None:
    axis.imshow(1 - image, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title, color=colour, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(colour)
        spine.set_linewidth(1.5)
