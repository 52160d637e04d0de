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


def unequal(*counts: int, seed: int = 0) -> bm.Tasks:
    """40 tasks of three classes with so many examples, and two queries of each."""
    generator = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(40, 3, 6, generator=generator)

    def draw(each: tuple[int, ...]) -> bm.Tasks:
        labels = torch.arange(3).repeat_interleave(torch.tensor(each))
        x = centres[:, labels] + torch.randn(40, len(labels), 6, generator=generator)
        return bm.Tasks.from_arrays(labels.float().expand(40, -1), {"v": x}, names=range(40))

    return draw(counts).with_query(draw((2, 2, 2)))


def class_means(embed: Net, theta: torch.Tensor, tasks: bm.Tasks) -> torch.Tensor:
    """The mean of each class's embeddings, (tasks, classes, width)."""
    indicator = torch.nn.functional.one_hot(tasks.y.long(), 3).to(theta.dtype)
    return indicator.mT @ embed(theta, tasks.x["v"]) / indicator.sum(1)[..., None]


def test_prototypes_are_class_means_at_every_count_trained_at_another() -> None:
    """And the gradient by which the embedding learns is that of the class means."""
    with bm.nets.isolated(0):
        embed = Net(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)))
    model = prototypes.of(embed, 4, 3, column="v")
    adam = bm.Adam(lr=3e-3, steps=20, compile=False)
    post = bm.fit(model, unequal(1, 1, 1), **bm.ProtoNet(adam=adam), progress=False)
    theta = post.theta["theta"][0, 0]
    for counts in ((1, 1, 1), (2, 2, 2), (1, 3, 2), (2, 1, 6)):
        tasks = unequal(*counts, seed=1)
        means = class_means(embed, theta, tasks)
        found = post.adapt(tasks).phi["prototype"][0, 0]
        assert torch.allclose(found, means, atol=1e-5 * float(means.abs().max())), counts
        fixed = post.adapt(tasks, phi=bm.GradientSteps(1, 0.3)).phi["prototype"][0, 0]
        assert not torch.allclose(fixed, means, atol=0.1), counts

    tasks = unequal(1, 3, 2).to(dtype=torch.float64)
    density, at = Density(read(model, tasks)), theta.double().requires_grad_()
    strategy = bm.ProtoNet()["phi"]
    distance = embed(at, tasks.query.x["v"])[:, :, None] - class_means(embed, at, tasks)[:, None]
    log_p = (-0.5 * distance.square().sum(-1)).log_softmax(-1)
    expected = log_p.gather(-1, tasks.query.y.long()[..., None]).sum()
    value = strategy.log_evidence(density, at, tasks).sum()
    slopes = [torch.autograd.grad(x, at)[0] for x in (expected, value)]
    assert torch.allclose(value, expected) and torch.allclose(*slopes, atol=1e-9)


@pytest.mark.slow
def test_a_class_without_examples_is_named() -> None:
    embed = Net(nn.Linear(6, 4))
    known = bm.Fixed({"theta": embed.weights()})
    model, tasks = prototypes.of(embed, 4, 3, column="v"), unequal(2, 0, 1)
    said = r"in 40 of 40 tasks the data say nothing .*'prototype\[1\]' of task '0'.*each class an"
    with pytest.warns(UserWarning, match=said):
        post = bm.fit(model, tasks, theta=known, phi=bm.ProtoNet()["phi"], progress=False)
    assert not post.phi["prototype"][0, 0, :, 1].any()
    with pytest.warns(UserWarning, match=said):
        bm.fit(model, tasks, **bm.ProtoNet(adam=ONE_STEP), progress=False)
