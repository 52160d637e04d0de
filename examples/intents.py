"""Intents: an assistant learns a new domain of talk from a few sentences, with words of others.

CLINC150 (Larson et al. 2019) has sentences of 150 intents in ten domains. Five domains are the
source; each of the other five is a target of 15 intents ("freeze my account", "report fraud", ...)
that were never seen, with 1, 5 or 20 sentences of each. Sentences are counts of words and of pieces
of words, to which nothing is downloaded.

    plain        nothing is transferred
    network      a hidden layer, pre-trained to tell the 75 source intents apart, then fine-tuned
    weights      one weight a word: pre-trained on the same and fine-tuned; or meta-learned from
                 episodes of the source, with prototypes as phi, and a linear layer after that

`python examples/intents.py` took 17 minutes on a core beside other work. Accuracy in percent among
15 intents, and gain over plain words with its standard error over the five domains:

    sentences of each intent              1                  5                 20
    plain words, linear                  50.5               78.9               90.8
    network from scratch                 41.1, -9.4 +- 2.1  67.6, -11.3 +- 1.4 81.5, -9.3 +- 1.3
    network pre-trained, fine-tuned      43.6, -6.9 +- 0.3  69.4, -9.5 +- 1.2  83.6, -7.2 +- 0.6
    weights pre-trained, fine-tuned      55.6, +5.1 +- 1.0  80.4, +1.5 +- 0.6  91.3, +0.5 +- 0.2
    weights meta-learned, prototypes     55.9, +5.4 +- 1.4  77.7, -1.2 +- 0.7  85.2, -5.6 +- 1.1
    weights meta-learned, linear         56.2, +5.7 +- 1.5  80.0, +1.1 +- 0.7  91.1, +0.3 +- 0.3

What is shared decides: how much a word says carries over to other talk, what a hidden layer makes
of the source's words does not, and is worse than no transfer.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from figures.intents import draw_intents
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta.models import intents, transfer, words
from bayesmeta.models.intents import Domain

SIZE, WAYS, HIDDEN, SHOTS = 1024, 15, 256, (1, 5, 20)
SOURCE = (
    *(Domain.BANKING, Domain.KITCHEN_AND_DINING, Domain.AUTO_AND_COMMUTE),
    *(Domain.UTILITY, Domain.SMALL_TALK),
)
TARGETS = tuple(domain for domain in Domain if domain not in SOURCE)
Make = Callable[[int], bm.nets.Net]


@dataclass(frozen=True)
class Way:
    """A model of a target domain, what is known of theta, and what is done with phi."""

    model: Callable[[bm.Tasks], None]
    known: bm.Fixed
    phi: Callable[[int], bm.Phi]

    def accuracy(self, domain: Domain, shots: int, count: int) -> float:
        """The share of other sentences whose intent is told, over choices of sentences."""
        talk = intents.classes(domain, size=SIZE)
        target = talk.episodes(count, ways=WAYS, shots=shots, queries=30, seed=1)
        post = bm.fit(self.model, target, theta=self.known, phi=self.phi(shots), progress=False)
        chosen = post.predict(target.query).mean.argmax(-1)
        return float((chosen == target.query.y).double().mean())


def weigher(classes: int) -> bm.nets.Net:
    """A classifier of weighed words."""
    with bm.nets.isolated(0):
        return bm.nets.Net(nn.Sequential(words.WordWeights(SIZE), nn.Linear(SIZE, classes)))


def network(classes: int) -> bm.nets.Net:
    """A classifier with a hidden layer."""
    with bm.nets.isolated(0):
        layers = [nn.Linear(SIZE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, classes)]
        return bm.nets.Net(nn.Sequential(*layers))


def pretrained(make: Make, last: str, smoke: bool) -> bm.Fixed:
    """Weights for a target: those of a classifier of the source's intents, less its last layer."""
    net, new = make(75), make(WAYS)
    data = intents.classes(*SOURCE, size=SIZE).shuffled(size=10)
    adam = bm.Adam(lr=2e-3, steps=3 if smoke else 1000, patience=0, compile=False)
    theta = bm.Point(batch_size=25, adam=adam)
    post = bm.fit(transfer.source(net, column="text"), data, theta=theta, phi=bm.Joint())
    return bm.Fixed({"theta": new.carry(post.theta["theta"][0, 0], net, fresh=last)})


def meta_learned(smoke: bool) -> Tensor:
    """A weight a word, by which sentences of the source are near to others of their intent."""
    source = intents.classes(*SOURCE, size=SIZE)
    episodes = source.episodes(10 if smoke else 2000, ways=WAYS, shots=1, queries=5)
    adam = bm.Adam(lr=1e-2, steps=3 if smoke else 400, patience=0, compile=False)
    post = bm.fit(words.words(WAYS, SIZE), episodes, **bm.ProtoNet(batch_size=4, adam=adam))
    return post.theta["theta"][0, 0]


def ways(smoke: bool) -> tuple[dict[str, Way], Tensor]:
    """What is compared, and the weights of words that were meta-learned."""
    steps = 2 if smoke else 100
    tuned = bm.FineTune([bm.Probe(steps=steps), bm.Full(steps=steps)], progress=False)
    probed = bm.FineTune([bm.Probe(steps=steps)], progress=False)
    new = network(WAYS)
    hidden = transfer.target(new, {"0": 0.1, "2": 1.0}, column="text")
    weighed = transfer.target(weigher(WAYS), {"0": 0.1, "1": 1.0}, column="text")
    means = words.words(WAYS, SIZE)
    plain, weights = bm.nets.Net(words.WordWeights(SIZE)).weights(), meta_learned(smoke)
    layer = torch.zeros(WAYS * (SIZE + 1))

    def prototypes(theta: Tensor) -> Way:
        return Way(means, bm.Fixed({"theta": theta}), lambda shots: bm.GradientSteps(1, lr=None))

    def linear(theta: Tensor) -> Way:
        return Way(weighed, bm.Fixed({"theta": torch.cat([theta, layer])}), lambda shots: probed)

    trained, known = pretrained(network, "2", smoke), pretrained(weigher, "1", smoke)
    scratch = bm.Fixed({"theta": new.carry(new.weights(), new, fresh="2")})
    return {
        "plain words, prototypes": prototypes(plain),
        "plain words, linear": linear(plain),
        "network from scratch": Way(hidden, scratch, lambda shots: tuned),
        "network pre-trained, probe": Way(hidden, trained, lambda shots: probed),
        "network pre-trained, fine-tuned": Way(hidden, trained, lambda shots: tuned),
        "weights pre-trained, fine-tuned": Way(weighed, known, lambda shots: tuned),
        "weights meta-learned, prototypes": prototypes(weights),
        "weights meta-learned, linear": linear(weights),
    }, weights[:SIZE].exp()


def extremes(weights: Tensor, count: int = 12) -> dict[str, float]:
    """Words of the source that count least and most, by the mean weight of their pieces."""
    spoken = intents.sentences()
    lines = [line for d in SOURCE for said in spoken[d].values() for line in said]
    common = Counter(word for line in lines for word in set(line.lower().split()))
    often = [word for word, times in common.items() if times >= 40]
    weight = (intents.features(often, SIZE) > 0).float() @ weights.cpu().float()
    weight /= (intents.features(often, SIZE) > 0).sum(1)
    order = weight.argsort().tolist()
    return {often[i]: float(weight[i]) for i in [*order[:count], *order[-count:]]}


def main() -> None:
    """Learn from the source, tell intents of each target apart, print a table and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    compared, weights = ways(args.smoke)
    rows = [
        {
            "way": name,
            "sentences": shots,
            "domain": domain.value,
            "accuracy": 100 * way.accuracy(domain, shots, 1 if args.smoke else 5),
        }
        for name, way in compared.items()
        for shots in SHOTS
        for domain in TARGETS[: 2 if args.smoke else None]
    ]
    frame = pd.DataFrame(rows)
    table = frame.pivot(index=["way", "domain"], columns="sentences", values="accuracy")
    mean = table.groupby("way", sort=False).mean()
    gain = table - table.loc["plain words, linear"].reindex(table.index, level="domain")
    error = gain.groupby("way", sort=False).sem()
    print("accuracy in percent", mean.round(1).to_string(), "", sep="\n")
    print("standard error of the gain over plain words, linear, over domains")
    print(error.round(1).to_string(), "", sep="\n")
    print(f"words that count least and most: {extremes(weights)}")
    draw_intents(mean, extremes(weights), args.out / "intents.png")


if __name__ == "__main__":
    main()
