"""Fashion-MNIST: the images are as published, balanced, and give episodes."""

from __future__ import annotations

import hashlib

import torch

from bayesmeta.models import fashion_mnist
from bayesmeta.models.fashion_mnist import NAMES, Split, classes


def test_parts_are_balanced_and_share_no_image() -> None:
    train, test = classes(Split.TRAIN), classes(Split.TEST)
    assert train.names == test.names == NAMES
    assert (train.sizes, test.sizes) == ((300,) * 10, (200,) * 10)
    both = torch.cat([train.examples, test.examples])
    assert len(both.flatten(1).unique(dim=0)) == len(both) == 5000


def test_pixels_are_those_that_the_readme_describes() -> None:
    with fashion_mnist._NPZ.open("rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert digest in (fashion_mnist._NPZ.parent / "README.md").read_text()
    levels = classes(Split.TEST).examples.unique()
    assert torch.equal(levels, torch.arange(0, 256, 17, dtype=torch.uint8))


def test_labels_are_those_of_the_images() -> None:
    """The mean image of the training part tells the class of most test images, and not shuffled."""
    means = classes(Split.TRAIN).examples.view(10, 300, -1).double().mean(1)
    images = classes(Split.TEST).examples.view(10, 200, -1).double()
    labels = torch.arange(10)[:, None]
    nearest = torch.cdist(images, means).argmin(-1)
    assert (nearest == labels).double().mean() > 0.6
    assert (nearest == labels.roll(1, 0)).double().mean() < 0.1


def test_one_line_gives_episodes() -> None:
    support = classes(Split.TEST).episodes(10, ways=5, shots=1, queries=15)
    assert support.x["image"].shape == (10, 5, 1, 28, 28)
    assert support.query.x["image"].shape == (10, 75, 1, 28, 28)
    assert support.x["image"].min() >= 0.0 and support.x["image"].max() == 1.0


def test_tasks_hold_every_image_once_with_its_label() -> None:
    tasks = fashion_mnist.tasks(fashion_mnist.Split.TEST, size=16)
    assert tasks.y.shape == (125, 16) and tasks.x["image"].shape == (125, 16, 1, 28, 28)
    examples = fashion_mnist.classes(fashion_mnist.Split.TEST).examples.float() / 255
    found = tasks.x["image"].flatten(0, 1)
    for label in (0.0, 9.0):
        mine = found[tasks.y.flatten() == label].flatten(1)
        published = examples[200 * int(label) : 200 * int(label) + 200].flatten(1)
        assert sorted(mine.sum(1).tolist()) == sorted(published.sum(1).tolist())
