"""Completing images: a drawing is a function from places to grey values, seen at some pixels.

Each task is a drawing of a character, its datapoints are pixels, and a network reads any number of
them and predicts all others: a convolutional conditional neural process (Gordon et al. 2020), for
which a stroke is a stroke wherever it is. It learns on some characters of Omniglot and completes
others, never seen.

    z_i ~ N(0, I), maps on a grid,   y_ij ~ N(mean(z_i(x_ij); theta), sd(z_i(x_ij); theta)^2)

Grey values have 16 levels; each is spread evenly over its sixteenth, without which the density of
paper, always 0, would have no bound (Theis, van den Oord & Bethge 2016).

`python examples/image_completion.py` trains for eight minutes on one core (fifteen beside other
work). Root mean square errors of the pixels not seen, in 500 drawings of characters never seen:

                           5 to 20 seen   21 to 80   81 to 200, of 784
    network                       0.207      0.187               0.157
    the mean of all drawings      0.213      0.207               0.208
    the nearest pixel seen        0.307      0.252               0.220
    nats a pixel, network          0.90       1.15                1.56
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from figures.images import draw_completions

import bayesmeta as bm
from bayesmeta.models import convolutional_process, omniglot

SIDE, LEVELS, MOST, QUERIES = 28, 16, 200, 200
# Places of the pixels, row by row, each coordinate in -1..1.
AXIS = torch.linspace(-1.0, 1.0, SIDE)
PLACES = torch.cartesian_prod(AXIS, AXIS)
MAPS, REACH = 8, 1.0  # maps whose nodes are the pixels


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


def nearest(tasks: bm.Tasks) -> torch.Tensor:
    """The grey value of the nearest pixel seen, for each of the query, (tasks, data)."""
    apart = torch.cdist(tasks.query.x["x"], tasks.x["x"])
    return tasks.y.gather(1, apart.masked_fill(~tasks.mask[:, None], torch.inf).argmin(-1))


def _index(tasks: bm.Tasks) -> torch.Tensor:
    """Which pixel each datapoint is, (tasks, data)."""
    row, column = ((tasks.x["x"] + 1) / 2 * (SIDE - 1)).round().long().unbind(-1)
    return SIDE * row + column


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
    model = convolutional_process.convolutional_process(2, SIDE, MAPS, REACH)
    pair = bm.ConvolutionalNeuralProcess(2, SIDE, MAPS, REACH, batch_size=16, adam=adam)
    post = bm.fit(model, train, **pair)

    tasks = pixels(unseen, seed=1)
    adapted = post.adapt(tasks)
    score = adapted.log_score(tasks.query).mean(1)
    guesses = {
        "network": adapted.predict(tasks.query).mean,
        "nearest pixel": nearest(tasks),
        "mean drawing": drawings(omniglot.Split.TRAIN, 2000, seed=2).mean(0)[_index(tasks.query)],
    }
    errors = {name: (g - tasks.query.y).square().mean(1) for name, g in guesses.items()}
    print("root mean square error of the pixels not seen, of 784")
    for low, high in ((5, 20), (21, 80), (81, MOST)):
        some = (low <= tasks.sizes) & (tasks.sizes <= high)
        shown = [f"{name} {error[some].mean().sqrt():.3f}" for name, error in errors.items()]
        print(
            f"    {low:3d} to {high:3d} seen: {', '.join(shown)}; "
            f"{score[some].mean():.2f} nats a pixel"
        )
    draw_completions(post, unseen[:4], PLACES, args.out / "image_completion.png")


if __name__ == "__main__":
    main()
