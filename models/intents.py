"""intents: 22,500 sentences to an assistant, of 150 intents in ten domains, as numbers.

    source = intents.classes(Domain.BANKING, Domain.TRAVEL)
    episodes = source.episodes(1000, ways=5, shots=1, queries=15)       # x["text"]

Whole domains can be kept for testing: their intents have other words. CLINC150 (Larson et al. 2019,
EMNLP), shipped without its out-of-scope sentences under CC BY 3.0; source and checksum are in
data/README.md.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from zlib import crc32

import torch
from torch import Tensor

import bayesmeta as bm

_JSON = Path(__file__).parent / "data" / "intents.json.gz"
_LENGTHS = (3, 4)


class Domain(Enum):
    """What an intent is about; 15 intents each."""

    BANKING = "banking"
    CREDIT_CARDS = "credit_cards"
    KITCHEN_AND_DINING = "kitchen_and_dining"
    HOME = "home"
    AUTO_AND_COMMUTE = "auto_and_commute"
    TRAVEL = "travel"
    UTILITY = "utility"
    WORK = "work"
    SMALL_TALK = "small_talk"
    META = "meta"


def classes(*domains: Domain, size: int = 1024) -> bm.Classes:
    """The intents of some domains, named "domain/intent", or of all where none is given.

    Each has 150 sentences, as `features` of that size.
    """
    everything = sentences()
    chosen = {
        f"{domain.value}/{intent}": spoken
        for domain in domains or Domain
        for intent, spoken in everything[domain].items()
    }
    flat = [sentence for spoken in chosen.values() for sentence in spoken]
    sizes = tuple(len(spoken) for spoken in chosen.values())
    return bm.Classes(features(flat, size), sizes, tuple(chosen), column="text")


def sentences() -> dict[Domain, dict[str, list[str]]]:
    """The sentences themselves, by domain and intent.

    Of an intent the first 100 are for training, 20 for validation and 30 for test in the published
    split, in which parts share intents; few-shot tasks split domains instead.
    """
    with gzip.open(_JSON, "rt", encoding="utf-8") as file:
        return {Domain(name): intents for name, intents in json.load(file).items()}


def features(texts: Sequence[str], size: int = 1024) -> Tensor:
    """Words and pieces of words, counted in `size` bins by a hash, at unit length: (texts, size).

    Pieces are three or four letters of a word in its brackets, as "<car>" (Bojanowski et al. 2017),
    so that "transfer" is like "transferred". Nothing is learned, and new words have features too
    (hash kernels, Shi et al. 2009).
    """
    counts = torch.zeros(len(texts), size)
    for row, text in zip(counts, texts, strict=True):
        words = re.findall(r"[a-z0-9']+", text.lower())
        bins = torch.tensor(
            [code % size for word in words for code in _codes(word)], dtype=torch.int64
        )
        row += torch.bincount(bins, minlength=size)
    return torch.nn.functional.normalize(counts, dim=-1)


@cache
def _codes(word: str) -> tuple[int, ...]:
    """A word and its pieces as numbers that are the same in every run."""
    whole = f"<{word}>"
    pieces = [whole[i : i + n] for n in _LENGTHS for i in range(len(whole) - n + 1)]
    return tuple(crc32(piece.encode()) for piece in (word, *pieces))
