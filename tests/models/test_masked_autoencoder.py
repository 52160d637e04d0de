"""masked_autoencoder: what is hidden, what is trained, and what its features are worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import bayesmeta as bm
from bayesmeta.models import masked_autoencoder, omniglot
from bayesmeta.models.masked_autoencoder import SIDE, encode, encoder, masked


def fitted(tasks: bm.Tasks, steps: int, seed: int = 0) -> bm.Posterior:
    adam = bm.Adam(lr=2e-3, steps=steps, patience=0, compile=False)
    return bm.fit(
        masked_autoencoder.masked_autoencoder(seed=seed),
        tasks,
        theta=bm.Point(batch_size=8, adam=adam),
        phi=bm.Joint(),
        progress=False,
    )


@pytest.mark.parametrize(("share", "patch"), [(0.3, 1), (0.75, 4)])
def test_patches_are_hidden_and_the_outcome_is_whole(share: float, patch: int) -> None:
    images = torch.rand(20, 8, 1, SIDE, SIDE) + 0.1
    tasks = masked(images, share, patch, seed=1)
    assert torch.equal(tasks.y, images.flatten(2))
    kept = tasks.x["image"] == images
    assert torch.equal(tasks.x["image"] * ~kept, torch.zeros_like(images))
    assert abs(kept.double().mean() - (1 - share)) < 0.02
    squares = kept.unflatten(-1, (-1, patch)).unflatten(-3, (-1, patch))
    assert (squares.all((-3, -1)) | ~squares.any((-3, -1))).all()


def test_patches_must_tile_the_image() -> None:
    with pytest.raises(ValueError, match="patch=3; give a divisor of 28"):
        masked(torch.rand(1, 1, 1, SIDE, SIDE), patch=3)


def test_the_model_has_no_phi() -> None:
    read = bm.structure(masked_autoencoder.model, masked_autoencoder.tasks(3, 2))
    assert (read.theta, read.phi, read.data) == (("encoder", "decoder"), (), ("y",))


def test_the_encoder_is_that_of_the_posterior() -> None:
    tasks = masked_autoencoder.tasks(16, 4)
    post = fitted(tasks, steps=2)
    net, weights = encoder(post)
    assert net(weights, tasks.x["image"]).shape == (16, 4, 64)
    assert weights.shape == encode().weights().shape
    assert not torch.allclose(weights, encode().weights().to(weights), atol=1e-4)
    with pytest.raises(ValueError, match=r"features=32 .* sizes that the model was made with"):
        encoder(post, features=32)


def probe(w: Tensor) -> float:
    """Accuracy of a linear classifier of 20 new characters, 5 drawings each, over 5 episodes."""
    new = omniglot.classes(omniglot.Split.TEST)
    support = new.episodes(5, ways=20, shots=5, queries=15, seed=3)
    seen, unseen = (encode()(w, t.x["image"]).numpy() for t in (support, support.query))
    right = []
    for i in range(5):
        centre, spread = seen[i].mean(0), seen[i].std(0) + 1e-6
        linear = LogisticRegression(C=0.1, max_iter=1000)
        linear.fit((seen[i] - centre) / spread, support.y[i])
        right.append(linear.score((unseen[i] - centre) / spread, support.query.y[i]))
    return float(np.mean(right))


def check_transfer(tasks: bm.Tasks, seed: int) -> None:
    """Trained features tell new characters better than those at the start, by 12 points."""
    before = probe(encode(seed=seed).weights())
    after = probe(encoder(fitted(tasks, steps=300, seed=seed))[1])
    print(f"seed {seed}: {before:.3f} before training, {after:.3f} after")
    assert after > before + 0.12


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_few_labels_go_further_on_transferred_features(seed: int) -> None:
    check_transfer(masked_autoencoder.tasks(600, seed=seed), seed)


@pytest.mark.slow
def test_pixels_in_random_order_teach_nothing() -> None:
    """The same drawings, the pixels of each in an order of its own."""
    images = masked_autoencoder.tasks(600).y
    generator = torch.Generator().manual_seed(0)
    order = torch.rand(images.shape, generator=generator).argsort(-1)
    shuffled = masked(images.gather(-1, order).view(600, 16, 1, SIDE, SIDE))
    with pytest.raises(AssertionError):
        check_transfer(shuffled, seed=0)
