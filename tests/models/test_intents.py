"""intents: the sentences are as published, and their features tell intents apart."""

from __future__ import annotations

import hashlib

import pytest
import torch

from bayesmeta.models import intents
from bayesmeta.models.intents import Domain, classes, features, sentences


def test_every_domain_has_its_intents_and_every_intent_its_sentences() -> None:
    everything = sentences()
    assert list(everything) == list(Domain)
    assert all(len(by_intent) == 15 for by_intent in everything.values())
    assert all(len(said) == 150 for group in everything.values() for said in group.values())
    assert len({name for by_intent in everything.values() for name in by_intent}) == 150
    first = "what expression would i use to say i love you if i were an italian"
    assert everything[Domain.TRAVEL]["translate"][0] == first


def test_the_file_is_the_one_that_the_readme_describes() -> None:
    digest = hashlib.sha256(intents._JSON.read_bytes()).hexdigest()
    assert digest in (intents._JSON.parent / "README.md").read_text()


def test_domains_are_chosen() -> None:
    some = classes(Domain.META, Domain.WORK, size=64)
    assert len(some) == 30 and some.names[0] == "meta/change_speed"
    assert some.examples.shape == (4500, 64) and some.sizes == (150,) * 30
    assert set(classes(size=8).names) > set(some.names)
    episodes = some.episodes(4, ways=5, shots=1, queries=2)
    assert episodes.x["text"].shape == (4, 5, 64)
    assert some[:3].episodes(1, ways=2, shots=1, queries=1).query.x["text"].shape == (1, 2, 64)


def test_features_are_counts_at_unit_length_that_no_run_changes() -> None:
    found = features(["Transfer it!", "it transfer", "it was transferred", "", "cook a hen"], 4096)
    torch.testing.assert_close(found.norm(dim=-1), torch.tensor([1.0, 1, 1, 0, 1]).to(found))
    torch.testing.assert_close(found[0], found[1])
    assert found[0] @ found[2] > 0.5 > 0.1 > found[0] @ found[4]
    # "a" is a word and one piece, "<a>": crc32("a") = 0xE8B7BE43, crc32("<a>") = 0x6FB782AB.
    assert features(["a"], 4096)[0].nonzero().flatten().tolist() == [0x2AB, 0xE43]


def check_told_apart(size: int) -> None:
    """The nearest mean of five sentences is that of the intent, for eight of ten others."""
    episodes = classes(Domain.WORK, size=size).episodes(50, ways=5, shots=5, queries=15)
    means = episodes.x["text"].unflatten(1, (5, -1)).mean(2)
    means = means / means.norm(dim=-1, keepdim=True)
    nearest = (episodes.query.x["text"] @ means.mT).argmax(-1)
    assert (nearest == episodes.query.y).double().mean() > 0.8


def test_features_tell_intents_apart() -> None:
    check_told_apart(1024)
    # Negative control: too few bins.
    with pytest.raises(AssertionError):
        check_told_apart(4)
