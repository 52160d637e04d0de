"""The figure of intents: accuracy against sentences, and the words that count least and most."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

COLOURS = {
    "plain words, linear": "#777777",
    "network pre-trained, fine-tuned": "#D55E00",
    "weights pre-trained, fine-tuned": "#E69F00",
    "weights meta-learned, prototypes": "#56B4E9",
    "weights meta-learned, linear": "#0072B2",
}


def draw_intents(accuracy: pd.DataFrame, words: Mapping[str, float], path: Path) -> None:
    """Lines by way at the left, words by weight at the right.

    Args:
        accuracy: in percent, a row a way, a column a number of sentences.
        words: weights, the least first.
        path: where the figure goes.
    """
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    shots = list(accuracy.columns)
    for name, colour in COLOURS.items():
        left.plot(shots, accuracy.loc[name], "o-", color=colour, label=name)
    left.set_xscale("log")
    left.set_xticks(shots, [str(n) for n in shots])
    left.set_xticks([], minor=True)
    left.set_xlabel("sentences of each new intent", fontsize=11)
    left.set_ylabel("accuracy among 15 intents, %", fontsize=11)
    left.legend(frameon=False, fontsize=9)
    half = len(words) // 2
    colours = ["#999999"] * half + ["#0072B2"] * (len(words) - half)
    right.barh(list(words), list(words.values()), color=colours)
    right.set_xlabel("weight, meta-learned from other domains", fontsize=11)
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    print(f"figure: {path}")
