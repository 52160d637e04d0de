"""Completing images: a drawing is a function from places to grey values, seen at some pixels.

The same attentive neural process as on curves, of two inputs: each task is a drawing of a
character, its datapoints are pixels, and a network reads any number of them and predicts all others
(Garnelo et al. 2018). It learns on some characters of Omniglot and completes others, never seen.

    z_i ~ N(0, I) in slots,   y_ij ~ N(mean(x_ij, z_i; theta), sd(x_ij, z_i; theta)^2)

Grey values have 16 levels; each is spread evenly over its sixteenth, without which the density of
paper, always 0, would have no bound (Theis, van den Oord & Bethge 2016).

`python examples/image_completion.py` trains for about ten minutes on one core. That is not enough:
with 5 to 20 pixels seen the root mean square error is 0.209, with 81 to 200 it is 0.202, so that
what is drawn is little more than the mean of all drawings. Give it more steps, or a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from figures.images import draw_completions

import bayesmeta as bm
from bayesmeta.models import attentive_process, omniglot

SIDE, LEVELS, MOST, QUERIES = 28, 16, 200, 200
# Places of the pixels, row by row, each coordinate in -1..1.
AXIS = torch.linspace(-1.0, 1.0, SIDE)
PLACES = torch.cartesian_prod(AXIS, AXIS)


def drawings(split: omniglot.Split, count: int, seed: int) -> torch.Tensor:
    """Grey values of drawings chosen at random, (count, pixels), in 0..1."""
    generator = torch.Generator().manual_seed(seed)
    examples = omniglot.classes(split).examples
    chosen = examples[torch.randint(len(examples), (count,), generator=generator)].flatten(1)
    level = (chosen.float() / 255 * (LEVELS - 1)).round()
    return (level + torch.rand(level.shape, generator=generator)) / LEVELS


def pixels(grey: torch.Tensor, seed: int) -> bm.Tasks:
    """Of each drawing 5 to MOST pixels as support and QUERIES others as query."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(grey.shape, generator=generator).argsort(1)[:, : MOST + QUERIES]
    y, x = grey.gather(1, order), PLACES[order]
    sizes = torch.randint(5, MOST + 1, (len(grey), 1), generator=generator)
    seen = torch.arange(MOST) < sizes
    support = bm.Tasks.from_arrays(y[:, :MOST], {"x": x[:, :MOST]}, seen)
    return support.with_query(bm.Tasks.from_arrays(y[:, MOST:], {"x": x[:, MOST:]}))


def main() -> None:
    """Train, score by the number of pixels seen, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    train = pixels(drawings(omniglot.Split.TRAIN, 100 if args.smoke else 20_000, seed=0), seed=0)
    unseen = drawings(omniglot.Split.TEST, 50 if args.smoke else 500, seed=1)
    adam = bm.Adam(lr=1e-3, steps=3 if args.smoke else 4000, patience=0, compile=False)
    model = attentive_process.attentive_process(inputs=2, slots=32, slot=8)
    pair = bm.AttentiveNeuralProcess(slots=32, slot=8, batch_size=16, adam=adam)
    post = bm.fit(model, train, **pair)

    tasks = pixels(unseen, seed=1)
    adapted = post.adapt(tasks)
    score = adapted.log_score(tasks.query).mean(1)
    error = (adapted.predict(tasks.query).mean - tasks.query.y).square().mean(1).sqrt()
    for low, high in ((5, 20), (21, 80), (81, MOST)):
        some = (low <= tasks.sizes) & (tasks.sizes <= high)
        print(
            f"{low:3d} to {high:3d} of 784 pixels seen: {score[some].mean():.2f} nats a pixel, "
            f"root mean square error {error[some].mean():.3f}"
        )
    draw_completions(post, unseen[:4], PLACES, args.out / "image_completion.png")


if __name__ == "__main__":
    main()
