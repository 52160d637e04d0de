"""fashion_mnist: 5,000 photographs of ten kinds of clothes, at 28x28 in grey.

    support = fashion_mnist.classes(fashion_mnist.Split.TEST).episodes(
        100, ways=5, shots=1, queries=15
    )

The first 300 training and the first 200 test images of each class of Fashion-MNIST (Xiao, Rasul &
Vollgraf 2017, arXiv:1708.07747), shipped under its MIT licence; source and checksum are in
data/README.md.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from pathlib import Path

import numpy as np
import torch

import bayesmeta as bm

_NPZ = Path(__file__).parent / "data" / "fashion_mnist.npz"
NAMES = (
    *("t-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)


class Split(Enum):
    """Which images of each class: 300 of the published training set, or 200 of its test set."""

    TRAIN = "train"
    TEST = "test"


@cache
def classes(split: Split) -> bm.Classes:
    """The ten classes, in the order of their published labels; images (1, 28, 28) on black."""
    with np.load(_NPZ) as archive:
        packed = archive[split.value]
    # Two grey values of four bits a byte, the left pixel first.
    pixels = (np.stack([packed >> 4, packed & 15], axis=-1) * 17).reshape(-1, 1, 28, 28)
    return bm.Classes(torch.from_numpy(pixels), (packed.shape[1],) * len(NAMES), NAMES)


def tasks(split: Split = Split.TRAIN, size: int = 10, seed: int = 0) -> bm.Tasks:
    """All images in random order, `size` a task, each with its published label: to pre-train on."""
    return classes(split).shuffled(size, seed)
