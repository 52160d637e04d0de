"""omniglot: 1,623 handwritten characters of 50 alphabets, each drawn by 20 people, at 28x28.

    support = omniglot.classes(omniglot.Split.TEST).episodes(1000, ways=5, shots=1, queries=15)

Lake, Salakhutdinov & Tenenbaum (2015), Science 350. Shipped with the package under its MIT licence;
source and checksum are in data/README.md.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from pathlib import Path

import numpy as np
import torch

import bayesmeta as bm

_NPZ = Path(__file__).parent / "data" / "omniglot28.npz"


class Split(Enum):
    """Which characters: TRAIN, VALIDATION and TEST are those of few-shot papers, 1,028 / 172 / 423.

    They are the split of Vinyals et al. (2016), in which alphabets are shared between the parts;
    BACKGROUND and EVALUATION, 964 and 659 characters, are Lake et al.'s, in which they are not.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"
    BACKGROUND = "background"
    EVALUATION = "evaluation"


def classes(split: Split) -> bm.Classes:
    """The characters of a split, named "alphabet/character"; ink is bright, of shape (1, 28, 28).

    `.rotated()` adds each character turned by 90, 180 and 270 degrees as classes of their own.
    """
    everything, chosen = _load()
    return everything[torch.from_numpy(chosen[split])]


@cache
def _load() -> tuple[bm.Classes, dict[Split, np.ndarray]]:
    with np.load(_NPZ) as archive:
        stored = {name: archive[name] for name in archive.files}
    # Two grey values of four bits a byte, the left pixel first.
    high, low = stored["packed"] >> 4, stored["packed"] & 15
    pixels = (np.stack([high, low], axis=-1) * 17).reshape(-1, 1, 28, 28)
    alphabets = stored["alphabet_names"][stored["alphabet"]]
    names = [f"{a}/character{c:02d}" for a, c in zip(alphabets, stored["character"], strict=True)]
    everything = bm.Classes(torch.from_numpy(pixels), (20,) * len(names), tuple(names))
    parts = (Split.TRAIN, Split.VALIDATION, Split.TEST)
    chosen = {part: stored["vinyals"] == k for k, part in enumerate(parts)}
    evaluation = stored["is_evaluation"]
    return everything, chosen | {Split.BACKGROUND: ~evaluation, Split.EVALUATION: evaluation}
