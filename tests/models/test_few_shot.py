"""The few-shot models: what is theta and what phi, prototypes as means, and that training helps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.outcomes import pointwise
from bayesmeta.model.prior import theta_start
from bayesmeta.model.reading import read
from bayesmeta.models import anil, few_shot_classifier, omniglot, prototypes
from bayesmeta.nets.net import Net

Make = Callable[..., Callable[[bm.Tasks], None]]
TRAIN = omniglot.classes(omniglot.Split.TRAIN)
TEST = omniglot.classes(omniglot.Split.TEST)
ONE_STEP = bm.Adam(steps=1, compile=False)

LATENTS = {
    few_shot_classifier.classifier: (("theta",), ("phi",)),
    anil.anil: (("theta", "start"), ("head",)),
    prototypes.prototypes: (("theta",), ("prototype",)),
}


def accuracy(post: bm.Posterior, episodes: bm.Tasks) -> float:
    """The share of query images whose most probable class is theirs."""
    chosen = post.adapt(episodes).predict(episodes.query).mean.argmax(-1)
    return float((chosen == episodes.query.y).double().mean())


@pytest.mark.parametrize("make", LATENTS, ids=lambda make: make.__name__)
def test_the_plates_say_what_is_of_the_task(make: Make) -> None:
    read = bm.structure(make(3, filters=4), TEST.episodes(2, ways=3, shots=1, queries=1))
    assert (read.theta, read.phi) == LATENTS[make]
    assert read.data == ("y",)


def test_one_step_lands_on_the_mean_of_each_class() -> None:
    episodes = TEST.episodes(4, ways=3, shots=5, queries=2)
    model = prototypes.prototypes(3, filters=4)
    post = bm.fit(model, episodes, **bm.ProtoNet(5, adam=ONE_STEP), progress=False)
    embed = Net(nn.Sequential(*few_shot_classifier.features(filters=4)))
    z = embed(post.theta["theta"][0, 0], episodes.x["image"])
    means = z.reshape(4, 3, 5, -1).mean(2)
    found = post.phi["prototype"][0, 0].reshape(4, 3, -1)
    assert torch.allclose(found, means, atol=2e-3 * float(means.abs().max()))
    # And queries go to the nearest mean, with the probabilities of the paper's equation 2.
    z = embed(post.theta["theta"][0, 0], episodes.query.x["image"])
    distance = (z[:, :, None] - found[:, None]).square().sum(-1)
    assert torch.allclose(
        post.predict(episodes.query).mean, (-0.5 * distance).softmax(-1), atol=1e-4
    )


def test_the_query_is_scored_by_labels_alone() -> None:
    """Its embedding weighs prototypes in the support; in the query it would reward collapse."""
    episodes = TEST.episodes(2, ways=3, shots=1, queries=2)
    model = prototypes.prototypes(3, filters=4)
    density = Density(read(model, episodes))
    theta = theta_start(density, episodes)
    phi = bm.GradientSteps(1, 1.0).climb(density, theta, [episodes])
    score = bm.GradientSteps(1, 1.0).log_evidence(density, theta, episodes)
    query = episodes.query
    assert torch.allclose(score, pointwise(density, theta, phi, query, ["y"]).sum(1))
    assert not torch.allclose(score, density.log_likelihood(theta, phi, query))


@pytest.mark.slow
@pytest.mark.parametrize("make", LATENTS, ids=lambda make: make.__name__)
def test_training_on_some_characters_helps_with_others(make: Make) -> None:
    episodes = TRAIN.episodes(500, ways=5, shots=1, queries=3)
    unseen = TEST.episodes(100, ways=5, shots=1, queries=5)
    found = []
    for steps in (1, 150):
        adam = bm.Adam(lr=2e-3, steps=steps, patience=0, compile=False)
        lr = 1.0 if make is prototypes.prototypes else 0.08
        pair = bm.MAML(1, lr, batch_size=8, adam=adam)
        post = bm.fit(make(5, filters=16), episodes, **pair, progress=False)
        found.append(accuracy(post, unseen))
    assert found[1] > found[0] + 0.1
