"""Few training tasks: thirty episodes of Omniglot to learn from, and how sure each method is.

Few-shot learning is usually measured with as many training tasks as one likes. Here there are 30,
fixed episodes of five characters (5 drawings each to adapt to, 15 as query), and 20 of characters
never seen to be tested on: the setting of PACOH (Rothfuss et al. 2021), whose published accuracies
are .693 for MAML, .764 for BMAML (Yoon et al. 2018) and .885 for PACOH. What matters is how much of
the network each task has to learn again, and what is treated as a distribution:

    MAML and its kin        every weight is phi, a point
    ANIL                    the last layer is phi; a point, or by Laplace's method a distribution
    prototypes, R2-D2       the means of classes, or a ridge regression, are phi, on shared features
    ..., theta variational  the features themselves are uncertain: a normal posterior of each weight

`python examples/few_tasks.py` takes about a quarter of an hour on one core, and writes the table to
out/few_tasks.md. Nothing is tuned on the test tasks, and none are held out to stop early.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch

import bayesmeta as bm
from bayesmeta.models import anil, few_shot_classifier, omniglot, prototypes, ridge

WAYS, SHOTS, QUERIES = 5, 5, 15
# A step of 0.4 on the mean cross entropy of the support, as in MAML's paper.
INNER_LR = 0.4 / (WAYS * SHOTS)
PRIOR_SD = 0.1
BATCH, STEPS = 5, 150

Model = Callable[[bm.Tasks], None]


def uncertain(model: Model, episodes: bm.Tasks) -> Model:
    """The same model, its parameter theta drawn from a normal prior around its start."""
    start = pyro.poutine.trace(model).get_trace(episodes[:1]).nodes["theta"]["value"].detach()
    pyro.clear_param_store()
    return pyro.poutine.lift(model, prior={"theta": dist.Normal(start, PRIOR_SD).to_event(1)})


@dataclass(frozen=True)
class Rung:
    """A model, the pair that trains it in so many steps, and ways to adapt; None is its own."""

    name: str
    model: Model
    pair: Callable[[bm.Adam], bm.Pair]
    steps: int
    adapt: tuple[bm.Phi | None, ...] = (None,)
    is_onehot: bool = False


def point(preset: Callable[..., bm.Pair], *settings: float) -> Callable[[bm.Adam], bm.Pair]:
    """A preset with its settings, in batches."""
    return lambda adam: preset(*settings, batch_size=BATCH, adam=adam)


def variational(phi: bm.Phi) -> Callable[[bm.Adam], bm.Pair]:
    """A normal posterior of every shared weight, of which 20 draws make a prediction."""
    return lambda adam: {
        "theta": bm.Gaussian(bm.MeanField(), particles=1, draws=20, batch_size=BATCH, adam=adam),
        "phi": phi,
    }


def rungs(episodes: bm.Tasks, filters: int) -> list[Rung]:
    """What is compared, with so many channels in each of four layers."""
    network = few_shot_classifier.classifier(WAYS, filters)
    head = anil.anil(WAYS, filters)
    means = prototypes.prototypes(WAYS, filters)
    regression = ridge.ridge(WAYS, filters)
    to_means = bm.GradientSteps(1, lr=None)
    laplace = bm.Laplace(draws=50)
    return [
        Rung("Reptile", network, point(bm.Reptile, 3, INNER_LR), STEPS),
        Rung("first-order MAML", network, point(bm.FOMAML, 1, INNER_LR), STEPS),
        Rung("MAML", network, point(bm.MAML, 1, INNER_LR), STEPS),
        Rung("Meta-SGD", network, point(bm.MetaSGD, 1, INNER_LR), STEPS),
        Rung("ANIL", head, point(bm.ANIL, 3, INNER_LR), STEPS, adapt=(None, laplace)),
        Rung("R2-D2", regression, point(partial(bm.R2D2, draws=200)), STEPS, is_onehot=True),
        Rung("prototypes", means, point(bm.ProtoNet), STEPS),
        Rung(
            "prototypes, theta variational",
            uncertain(means, episodes),
            variational(to_means),
            4 * STEPS,
        ),
    ]


COLUMNS = ("accuracy", "calibration error", "-log score", "training, s", "adapting, s")


def climb(rung: Rung, train: bm.Tasks, test: bm.Tasks, smoke: bool) -> dict[str, list[str]]:
    """Train, adapt to unseen characters in each way, and judge: rows by name."""
    if rung.is_onehot:
        train, test = (ridge.onehot(tasks, WAYS) for tasks in (train, test))
    adam = bm.Adam(lr=1e-3, steps=3 if smoke else rung.steps, patience=0, compile=False)
    began = time.perf_counter()
    post = bm.fit(rung.model, train, **rung.pair(adam))
    trained = time.perf_counter() - began
    rows = {}
    for way in rung.adapt:
        name = rung.name if way is None else f"{rung.name}, then {type(way).__name__}"
        began = time.perf_counter()
        adapted = post.adapt(test, phi=way)
        chances = probabilities(adapted, test.query, rung.is_onehot)
        times = [f"{trained:.0f}", f"{time.perf_counter() - began:.1f}"]
        labels = test.query.y.argmax(-1) if rung.is_onehot else test.query.y.long()
        rows[name] = [*judge(chances, labels), *times]
        print(name, *rows[name], sep=" | ", flush=True)
    return rows


def probabilities(adapted: bm.Posterior, query: bm.Tasks, is_onehot: bool) -> torch.Tensor:
    """P(y = k) of every query image, (tasks, data, ways).

    A regression of one-hot labels predicts vectors; P(y = k) is how often entry k is the largest,
    with half a draw added to each so that nothing is impossible.
    """
    found = adapted.predict(query)
    if not is_onehot:
        return found.mean
    counts = torch.nn.functional.one_hot(found.draws.argmax(-1), WAYS).sum((0, 1)) + 0.5
    return counts / counts.sum(-1, keepdim=True)


def judge(chances: torch.Tensor, labels: torch.Tensor) -> list[str]:
    """Accuracy with its 95% interval over tasks, calibration error, and minus the log score."""
    right = (chances.argmax(-1) == labels).double()
    interval = 1.96 * right.mean(1).std() / len(right) ** 0.5
    log_score = chances.gather(-1, labels[..., None]).log().mean()
    error = expected_calibration_error(chances.amax(-1).flatten(), right.flatten())
    return [f"{right.mean():.1%} +- {interval:.1%}", f"{error:.3f}", f"{-log_score:.3f}"]


def expected_calibration_error(chance: torch.Tensor, right: torch.Tensor, bins: int = 10) -> float:
    """sum over bins of share |accuracy - mean confidence|, equal widths (Guo et al. 2017)."""
    place = (chance * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins, dtype=right.dtype).index_add(0, place, right - chance.to(right.dtype))
    return float(gap.abs().sum() / len(right))


def main() -> None:
    """Climb every rung, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the table goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    shape = {"ways": WAYS, "shots": SHOTS, "queries": 3 if args.smoke else QUERIES}
    count = (5, 3) if args.smoke else (30, 20)
    train = omniglot.classes(omniglot.Split.TRAIN).episodes(count[0], **shape)
    test = omniglot.classes(omniglot.Split.TEST).episodes(count[1], **shape, seed=1)
    rows = {}
    for rung in rungs(train, filters=4 if args.smoke else 32):
        rows |= climb(rung, train, test, args.smoke)
    text = f"| | {' | '.join(COLUMNS)} |\n|---|{'---|' * len(COLUMNS)}\n"
    text += "".join(f"| {name} | {' | '.join(cells)} |\n" for name, cells in rows.items())
    (args.out / "few_tasks.md").write_text(text)
    print(f"\n{text}\nwritten to {args.out / 'few_tasks.md'}")


if __name__ == "__main__":
    main()
