"""masked_autoencoder: features without labels, by filling in what was hidden of an image.

    y_ij ~ N(decode(encode(x_ij; theta); theta), NOISE^2),   x_ij = y_ij with some patches put to 0

A denoising autoencoder whose noise hides (Vincent, Larochelle, Bengio & Manzagol 2008), patch by
patch where it is to be as in masked autoencoders (He et al. 2022). There is no phi: tasks say no
more than which images go together in a step.

    point = bm.Point(batch_size=8, adam=bm.Adam(lr=2e-3, steps=300))
    post = bm.fit(model, tasks(600), theta=point, phi=bm.Joint())
    net, weights = encoder(post)
    net(weights, episodes.x["image"])   # features of whole images, (tasks, data, 64)
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import bayesmeta as bm

from . import omniglot

NOISE, SIDE = 0.2, 28


def encode(features: int = 64, hidden: int = 256, seed: int = 0) -> bm.nets.Net:
    """The network of an image (1, SIDE, SIDE) to its features (features,), at a random start."""
    with bm.nets.isolated(seed):
        first, last = nn.Linear(SIDE * SIDE, hidden), nn.Linear(hidden, features)
        return bm.nets.Net(nn.Sequential(nn.Flatten(), first, nn.ReLU(), last))


def masked_autoencoder(
    features: int = 64, hidden: int = 256, seed: int = 0
) -> Callable[[bm.Tasks], None]:
    """The model for x["image"] (tasks, data, 1, SIDE, SIDE) and y (tasks, data, SIDE * SIDE)."""
    inward = encode(features, hidden, seed)
    outward = bm.nets.perceptron(features, hidden, SIDE * SIDE, seed=seed)

    def model(tasks: bm.Tasks) -> None:
        encoder = pyro.param("encoder", lambda: inward.weights().to(tasks.dtype))
        decoder = pyro.param("decoder", lambda: outward.weights().to(tasks.dtype))
        mean = outward(decoder, inward(encoder, tasks.x["image"]))
        with (
            pyro.plate("tasks", tasks.num_tasks, dim=-2),
            pyro.plate("data", tasks.num_data, dim=-1),
        ):
            pyro.sample("y", dist.Normal(mean, NOISE).to_event(1), obs=tasks.y)

    return model


model = masked_autoencoder()


def encoder(
    posterior: bm.Posterior, features: int = 64, hidden: int = 256
) -> tuple[bm.nets.Net, Tensor]:
    """The network of features and its trained weights, to build a classifier on.

    Args:
        posterior: a fit of masked_autoencoder(features, hidden).
        features: as the model has it.
        hidden: as the model has it.

    Raises:
        ValueError: where the model had other sizes.
    """
    net, weights = encode(features, hidden), posterior.theta["encoder"][0, 0]
    if len(weights) != net.size:
        raise ValueError(
            f"encoder got features={features} and hidden={hidden}, which take {net.size} weights, "
            f"and a posterior with {len(weights)}; give the sizes that the model was made with"
        )
    return net, weights


def masked(images: Tensor, share: float = 0.3, patch: int = 1, seed: int = 0) -> bm.Tasks:
    """Tasks of filling in images (tasks, data, 1, SIDE, SIDE).

    Args:
        images: grey values.
        share: the part that is hidden, put to 0: each patch by a coin of its own.
        patch: side of a patch in pixels, a divisor of SIDE; 1 hides pixel by pixel.
        seed: of what is hidden.

    Raises:
        ValueError: for patches that do not tile the image.
    """
    if patch < 1 or SIDE % patch:
        raise ValueError(f"masked got patch={patch}; give a divisor of {SIDE}, such as 4")
    coarse = (*images.shape[:3], SIDE // patch, SIDE // patch)
    kept = torch.rand(coarse, generator=torch.Generator().manual_seed(seed)) >= share
    kept = kept.repeat_interleave(patch, -1).repeat_interleave(patch, -2)
    return bm.Tasks.from_arrays(images.flatten(2), {"image": images * kept})


def tasks(num_tasks: int = 100, images: int = 16, seed: int = 0) -> bm.Tasks:
    """Drawings of Omniglot's training characters, at random and without their labels."""
    drawings = omniglot.classes(omniglot.Split.TRAIN).examples
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(drawings), (num_tasks, images), generator=generator)
    return masked(drawings[chosen].float() / 255, seed=seed)
