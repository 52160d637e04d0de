"""Omniglot: five characters never seen, one drawing of each, and whose is the next drawing?

Omniglot has 1,623 characters of 50 alphabets, each drawn by 20 people. An episode is a task: five
characters, one drawing of each to learn from (the support), others to be told apart (the query).
Meta-training sees episodes of 1,028 characters and their rotations; the 423 test characters are
never seen. Three ways to treat them, which differ in what of the network belongs to the task:

    MAML                every weight is phi, one gradient step from theta
    ANIL                the features are theta, the last layer is phi
    prototypes          the embedding is theta, the mean of each class is phi

`python examples/omniglot.py` trains the last one for 46 minutes on one core, and draws an episode
with its predictions; `--method MAML` or `--method ANIL` trains another, each for about half an
hour. Ctrl-C stops training, and the same command goes on from there. Prototypes learn from episodes
of twenty characters, which makes them better at five as well (Snell, Swersky & Zemel 2017, section
3.1): theta does not know the number of classes, so that it serves another model as
`bm.Fixed(theta)`.
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

SHOTS, BATCH = 1, 8
# A step of 0.4 on the mean cross entropy of the support, as in MAML's paper.
INNER_LR = 0.4 / (5 * SHOTS)


@dataclass(frozen=True)
class Method:
    """A model by its ways, the pair that trains it, and the gradient steps that adapt it.

    It is trained on episodes of the last number of ways, and tested on those of each.
    """

    make: Callable[[int], Callable[[bm.Tasks], None]]
    preset: Callable[[bm.Adam], bm.Pair]
    adapt: bm.GradientSteps
    meta_steps: int
    ways: tuple[int, ...] = (5,)


METHODS = {
    "prototypes": Method(
        prototypes.prototypes,
        lambda adam: bm.ProtoNet(batch_size=BATCH, adam=adam),
        bm.GradientSteps(1, lr=None),
        meta_steps=4000,
        ways=(5, 20),
    ),
    "ANIL": Method(
        anil.anil,
        lambda adam: bm.ANIL(3, INNER_LR, batch_size=BATCH, adam=adam),
        bm.GradientSteps(3, INNER_LR),
        meta_steps=4000,
    ),
    # One step in training and three afterwards, as in the paper.
    "MAML": Method(
        few_shot_classifier.classifier,
        lambda adam: bm.MAML(1, INNER_LR, batch_size=BATCH, adam=adam),
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
    theta = learn(method, args)

    unseen = omniglot.classes(omniglot.Split.TEST)
    print(
        f"{args.method}, Omniglot {SHOTS}-shot, split of Vinyals et al. (2016), test characters, "
        f"batch normalisation transductive, {method.adapt.steps} gradient step(s) to adapt:"
    )
    for ways in reversed(method.ways):
        count = 20 if args.smoke else 1000
        test = unseen.episodes(
            count, ways=ways, shots=SHOTS, queries=15 if ways == 5 else 5, seed=1
        )
        adapted = bm.fit(method.make(ways), test, theta=theta, phi=method.adapt)
        # The mean of a categorical outcome is the probabilities of its classes.
        probabilities = adapted.predict(test.query).mean
        right = (probabilities.argmax(-1) == test.query.y).double().mean(1)
        interval = 1.96 * right.std() / len(test) ** 0.5
        print(
            f"  {ways}-way: accuracy {right.mean():.2%} +- {interval:.2%} (95% interval, "
            f"{len(test)} episodes)"
        )
    # The last is the one of five ways.
    draw_episode(test[:1], probabilities[0], args.out / "omniglot_episode.png")


def learn(method: Method, args: argparse.Namespace) -> bm.Fixed:
    """Theta, from episodes of the training characters, at its best on validation characters."""
    # One line gives episodes. Images are read from one table when a batch asks for them.
    characters = omniglot.classes(omniglot.Split.TRAIN).rotated()
    shape = {"ways": method.ways[-1], "shots": SHOTS, "queries": 3}
    episodes = characters.episodes(40 if args.smoke else 40_000, **shape)
    held_out = omniglot.classes(omniglot.Split.VALIDATION)
    validation = held_out.episodes(4 if args.smoke else 100, **shape)
    print(characters, episodes, sep="\n", end="\n\n")
    model = method.make(method.ways[-1])
    print(inspect.getsource(model))

    steps = 20 if args.smoke else method.meta_steps
    adam = bm.Adam(lr=1e-3, steps=steps, patience=0, compile=False if args.smoke else None)
    began = time.perf_counter()
    post = bm.fit(
        model,
        episodes,
        **method.preset(adam),
        validation=validation,
        checkpoint=args.out / f"omniglot_{args.method}_{steps}",
    )
    print(f"trained on {BATCH * steps} episodes in {time.perf_counter() - began:.0f} s")
    return bm.Fixed({name: draws[0, 0] for name, draws in post.theta.items()})


if __name__ == "__main__":
    main()
