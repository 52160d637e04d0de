"""omniglot: all characters are there, split as published, and look like drawings."""

from __future__ import annotations

import hashlib

import torch

from bayesmeta.models import omniglot
from bayesmeta.models.omniglot import Split, classes


def test_splits_have_their_published_sizes_and_do_not_overlap() -> None:
    sizes = {split: len(classes(split)) for split in Split}
    assert sizes == {
        Split.TRAIN: 1028,
        Split.VALIDATION: 172,
        Split.TEST: 423,
        Split.BACKGROUND: 964,
        Split.EVALUATION: 659,
    }
    for parts in (
        (Split.TRAIN, Split.VALIDATION, Split.TEST),
        (Split.BACKGROUND, Split.EVALUATION),
    ):
        names = [name for part in parts for name in classes(part).names]
        assert len(set(names)) == len(names) == 1623
    alphabets = [
        {name.split("/")[0] for name in classes(part).names}
        for part in (Split.BACKGROUND, Split.EVALUATION)
    ]
    assert [len(a) for a in alphabets] == [30, 20] and not alphabets[0] & alphabets[1]


def test_the_first_and_last_character_are_what_they_are() -> None:
    background, evaluation = classes(Split.BACKGROUND), classes(Split.EVALUATION)
    assert background.names[0] == "Arcadian/character01"
    assert evaluation.names[0] == "Angelic/character01" and evaluation.sizes == (20,) * 659
    # Bright ink on dark paper: every drawing has both, and more paper.
    shares = (evaluation.examples > 127).float().mean((1, 2, 3))
    assert shares.min() > 0 and shares.max() < 0.5


def test_pixels_are_those_that_the_readme_describes() -> None:
    with omniglot._NPZ.open("rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert digest in (omniglot._NPZ.parent / "README.md").read_text()
    levels = classes(Split.TEST).examples[:50].unique()
    assert torch.equal(levels, torch.arange(0, 256, 17, dtype=torch.uint8))


def test_one_line_gives_episodes() -> None:
    support = classes(Split.TEST).rotated().episodes(10, ways=20, shots=1, queries=5)
    assert support.x["image"].shape == (10, 20, 1, 28, 28)
    assert support.query.x["image"].shape == (10, 100, 1, 28, 28)
