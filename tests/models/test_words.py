"""words: the embedding by hand; weights of words carry over to domains that were not seen."""

from __future__ import annotations

import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import intents, words
from bayesmeta.models.intents import Domain

SIZE = 256


def test_a_sentence_is_weighed_and_brought_to_one_length() -> None:
    embed = words.WordWeights(3)
    with torch.no_grad():
        embed.log_weight.copy_(torch.tensor([0.0, 1.0, -1.0]))
        embed.log_length.fill_(0.5)
        z = embed(torch.tensor([[1.0, 0.0, 0.0], [2.0, 1.0, 0.0]]))
    weighed = torch.tensor([2.0, torch.e])
    expected = torch.tensor(0.5).exp() * weighed / weighed.norm()
    torch.testing.assert_close(z[0], torch.tensor([0.5, -torch.inf, -torch.inf]).exp())
    torch.testing.assert_close(z[1, :2], expected)


def accuracy(theta: torch.Tensor) -> float:
    """Of one-shot episodes in domains that were not seen."""
    unseen = intents.classes(Domain.TRAVEL, Domain.WORK, size=SIZE)
    episodes = unseen.episodes(200, ways=5, shots=1, queries=10, seed=1)
    one_step, known = bm.GradientSteps(1, 1.0), bm.Fixed({"theta": theta})
    post = bm.fit(words.words(5, SIZE), episodes, theta=known, phi=one_step, progress=False)
    chosen = post.predict(episodes.query).mean.argmax(-1)
    return float((chosen == episodes.query.y).double().mean())


def gain(*, shuffled: bool) -> float:
    """How much better weights learned in two domains are than none, in two others."""
    source = intents.classes(Domain.BANKING, Domain.KITCHEN_AND_DINING, size=SIZE)
    episodes = source.episodes(500, ways=5, shots=1, queries=5)
    adam = bm.Adam(lr=2e-2, steps=100, patience=0, compile=False)
    pair = bm.ProtoNet(1, batch_size=8, adam=adam)
    post = bm.fit(words.words(5, SIZE), episodes, **pair, progress=False)
    theta = post.theta["theta"][0, 0]
    if shuffled:
        order = torch.randperm(SIZE, generator=torch.Generator().manual_seed(0))
        theta = torch.cat([theta[order], theta[SIZE:]])
    return accuracy(theta) - accuracy(torch.cat([torch.zeros(SIZE), torch.tensor([2.0])]))


def test_weights_of_words_carry_over_to_other_domains() -> None:
    assert gain(shuffled=False) > 0.03


def test_weights_of_other_words_do_not() -> None:
    with pytest.raises(AssertionError):
        assert gain(shuffled=True) > 0.03
