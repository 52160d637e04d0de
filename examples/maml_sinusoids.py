"""MAML on sinusoids: a network that has learned to learn sine waves from ten points.

Each task is a wave y = a sin(x - p), its amplitude and phase drawn anew. Ordinary training on all
waves together learns their average, which is nearly 0 everywhere. MAML (Finn, Abbeel & Levine 2017)
looks for weights theta from which a few gradient steps on ten points of a wave reach that wave:

    phi_i = theta + k gradient steps on log p(D_i | phi),   theta maximises log p(query_i | phi_i)

In this library that is the pair theta=Point(), phi=GradientSteps() on an ordinary plate model: a
point estimate of theta, and of phi given theta. `python examples/maml_sinusoids.py` trains for two
minutes and draws the paper's figure: a wave never seen, after 0, 1 and 10 steps.
"""

from __future__ import annotations

import argparse
import inspect
import time
from pathlib import Path

import torch
from figures.sinusoids import draw_adaptation

import bayesmeta as bm
from bayesmeta.models import sinusoid

SHOTS = 10
# On the mean squared error, as the paper has it: a step of 0.01. A step on the log likelihood of n
# points with sd 1 is n / 2 times as long.
INNER_LR = 0.01 * 2 / SHOTS
STEPS = (0, 1, 10)


def error(post: bm.Posterior, support: bm.Tasks, query: bm.Tasks, steps: int) -> torch.Tensor:
    """Mean squared error on the query after so many steps on the support, (tasks,)."""
    adapted = post.adapt(support, phi=bm.GradientSteps(steps, INNER_LR))
    return (adapted.predict(query).mean - query.y).square().mean(1)


def train(support: bm.Tasks, query: bm.Tasks, pair: bm.Pair) -> bm.Posterior:
    """Meta-training, with its time."""
    began = time.perf_counter()
    post = bm.fit(sinusoid.model, support, query=query, **pair)
    print(f"trained in {time.perf_counter() - began:.0f} s: {len(post.losses)} meta-steps")
    return post


def main() -> None:
    """Train, compare with learning the average wave, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    print(inspect.getsource(sinusoid.model))
    tasks = sinusoid.tasks(100 if args.smoke else 20_000, 2 * SHOTS)
    support, query = tasks.split(SHOTS)
    adam = bm.Adam(lr=1e-3, steps=20 if args.smoke else 12_000, patience=0)

    # No steps: theta alone has to fit all waves, which is ordinary training on all tasks.
    average = train(support, query, bm.MAML(0, INNER_LR, batch_size=25, adam=adam))
    maml = train(support, query, bm.MAML(5, INNER_LR, batch_size=25, adam=adam))

    # Waves that neither has seen: ten points to adapt to, a hundred to be judged on.
    new, unseen = sinusoid.tasks(200 if args.smoke else 1000, 110, seed=1).split(SHOTS)
    began = time.perf_counter()
    maml.adapt(new)
    print(f"adapting to {len(new)} waves takes {time.perf_counter() - began:.2f} s")
    print(f"\nmean squared error on {len(new)} waves never seen, with its standard error")
    print(f"{'steps':>6s}{'trained on all waves':>24s}{'MAML':>18s}")
    for steps in sorted({*STEPS, 5}):
        found = [error(post, new, unseen, steps) for post in (average, maml)]
        shown = [f"{e.mean():.3f} +- {e.std() / len(e) ** 0.5:.3f}" for e in found]
        print(f"{steps:6d}{shown[0]:>24s}{shown[1]:>18s}")

    models = {"trained on all waves": average, "MAML": maml}
    draw_adaptation(models, new[:2], STEPS, INNER_LR, args.out / "maml_sinusoids.png")


if __name__ == "__main__":
    main()
