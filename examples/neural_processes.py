"""Neural processes: a network that has learned to read points of a function and to predict it.

Each task is a function drawn from a Gaussian process, seen at 3 to 50 points. The model says that a
function is decoded from numbers z of its own, p(y_ij | x_ij, z_i, theta), and phi=bm.Amortised()
infers z by a network that reads the points:

    q(z_i | D_i),   theta and the network maximise log p(query_i | D_i)

What kind of neural process it is, is a matter of the pair:

    conditional   z is a function of the points (Garnelo et al. 2018a): the mechanistic view
    latent        z has a posterior, of which curves are drawn (Garnelo et al. 2018b)
    attentive     z are slots that points attend to, and x attends to slots (Kim et al. 2019)

The process that the functions come from has an exact predictive, by which all are judged.
`python examples/neural_processes.py` trains each for some minutes, and draws a function as more of
its points are seen. Measured against another package: benchmarks/results_functions.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from figures.functions import draw_functions

import bayesmeta as bm
from bayesmeta.models import attentive_process, neural_process

Model = Callable[[bm.Tasks], None]


@dataclass(frozen=True)
class Kind:
    """A model, the pair that trains it, and for how many steps."""

    model: Model
    pair: Callable[..., bm.Pair]
    batch_size: int
    steps: int


WIDE = neural_process.neural_process(latent=128, hidden=128)
KINDS = {
    "conditional": Kind(WIDE, bm.ConditionalNeuralProcess, 32, 6000),
    "latent": Kind(WIDE, bm.NeuralProcess, 32, 3000),
    "attentive": Kind(attentive_process.model, bm.AttentiveNeuralProcess, 16, 5000),
}


def train(kind: Kind, functions: bm.Tasks, smoke: bool) -> bm.Posterior:
    """Theta and the network, with their time."""
    adam = bm.Adam(lr=1e-3, steps=10 if smoke else kind.steps, patience=0, compile=False)
    began = time.perf_counter()
    pair = kind.pair(batch_size=kind.batch_size, adam=adam)
    post = bm.fit(kind.model, functions, **pair)
    print(f"{len(post.losses)} steps in {time.perf_counter() - began:.0f} s")
    return post


def main() -> None:
    """Train, compare with the exact predictive, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    functions = neural_process.tasks(200 if args.smoke else 20_000, shots=50, queries=50)
    unseen = neural_process.tasks(100 if args.smoke else 1000, shots=50, queries=50, seed=1)
    exact = neural_process.exact_log_score(unseen).mean(1)
    trained = {name: train(kind, functions, args.smoke) for name, kind in KINDS.items()}

    print(f"\nlog score a point on {len(unseen)} functions never seen; exact {exact.mean():.3f}")
    for name, post in trained.items():
        below = exact - post.adapt(unseen).log_score(unseen.query).mean(1)
        error = below.std() / len(below) ** 0.5
        print(f"{name:12s} {below.mean():.3f} +- {error:.3f} nats below the exact")
    draw_functions(trained, args.out / "neural_processes.png")


if __name__ == "__main__":
    main()
