"""Omniglot: five characters never seen, one drawing of each, and whose is the next drawing?

Omniglot has 1,623 characters of 50 alphabets, each drawn by 20 people. An episode is a task: five
characters, one drawing of each to learn from (the support), others to be told apart (the query).
Meta-training sees episodes of 1,028 characters and their rotations; the 423 test characters are
never seen. Three ways to treat them, which differ in what of the network belongs to the task:

    MAML                every weight is phi, one gradient step from theta
    ANIL                the features are theta, the last layer is phi
    prototypes          the embedding is theta, the mean of each class is phi

`python examples/omniglot.py` trains the last one, the quickest, for some minutes, and draws an
episode with its predictions; `--method MAML` or `--method ANIL` trains another.
"""

from __future__ import annotations

import argparse
import inspect
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from figures.omniglot import draw_episode

import bayesmeta as bm
from bayesmeta.models import anil, few_shot_classifier, omniglot, prototypes

WAYS, SHOTS = 5, 1
# A step of 0.4 on the mean cross entropy of the support, as in MAML's paper.
INNER_LR = 0.4 / (WAYS * SHOTS)


@dataclass(frozen=True)
class Method:
    """A model, the pair that trains it, and how many gradient steps adapt it afterwards."""

    model: Callable[[bm.Tasks], None]
    preset: Callable[[bm.Adam, int], bm.Pair]
    adapt: bm.GradientSteps
    meta_steps: int


METHODS = {
    "prototypes": Method(
        prototypes.prototypes(WAYS),
        lambda adam, batch: bm.ProtoNet(SHOTS, batch_size=batch, adam=adam),
        bm.GradientSteps(1, 1 / SHOTS),
        meta_steps=4000,
    ),
    "ANIL": Method(
        anil.anil(WAYS),
        lambda adam, batch: bm.ANIL(3, INNER_LR, batch_size=batch, adam=adam),
        bm.GradientSteps(3, INNER_LR),
        meta_steps=4000,
    ),
    # One step in training and three afterwards, as in the paper.
    "MAML": Method(
        few_shot_classifier.classifier(WAYS),
        lambda adam, batch: bm.MAML(1, INNER_LR, batch_size=batch, adam=adam),
        bm.GradientSteps(3, INNER_LR),
        meta_steps=14_000,
    ),
}


def main() -> None:
    """Train on episodes, adapt to episodes of other characters, say how often it is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--method", choices=list(METHODS), default="prototypes")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    method = METHODS[args.method]

    # One line gives episodes. Images are read from one table when a batch asks for them.
    characters = omniglot.classes(omniglot.Split.TRAIN).rotated()
    count = 40 if args.smoke else 20_000
    episodes = characters.episodes(count, ways=WAYS, shots=SHOTS, queries=3)
    print(characters, episodes, sep="\n", end="\n\n")
    print(inspect.getsource(method.model))

    steps = 20 if args.smoke else method.meta_steps
    adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False if args.smoke else None)
    began = time.perf_counter()
    post = bm.fit(method.model, episodes, **method.preset(adam, 8))
    print(f"trained on {8 * steps} episodes in {time.perf_counter() - began:.0f} s")

    unseen = omniglot.classes(omniglot.Split.TEST)
    test = unseen.episodes(20 if args.smoke else 1000, ways=WAYS, shots=SHOTS, queries=15, seed=1)
    adapted = post.adapt(test, phi=method.adapt)
    # The mean of a categorical outcome is the probabilities of its classes.
    probabilities = adapted.predict(test.query).mean
    right = (probabilities.argmax(-1) == test.query.y).double().mean(1)
    interval = 1.96 * right.std() / len(test) ** 0.5
    print(
        f"{args.method}, Omniglot {WAYS}-way {SHOTS}-shot, split of Vinyals et al. (2016), batch "
        f"normalisation transductive, {method.adapt.steps} gradient step(s), {len(test)} episodes "
        f"of test characters:\naccuracy {right.mean():.2%} +- {interval:.2%} "
        "(95% interval)"
    )
    draw_episode(test[:1], probabilities[0], args.out / "omniglot_episode.png")


if __name__ == "__main__":
    main()
