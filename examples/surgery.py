"""Surgery: which layers to fine-tune depends on what has changed (Lee et al. 2023).

A network of five blocks learned to tell ten kinds of clothes apart from 3,000 photographs. Then
something changes, and 200 photographs are there to adapt by:

    input     images are noisy, blurred, faded or bright (each in one of six ways, at random)
    feature   three kinds of kinds (tops, shoes, others), of which others than before are seen
    output    the labels are numbered the other way round

One block alone is fine-tuned, or all; steps are 60, and the rate of each way is the best of four
on 100 more photographs of the target. Two automatic choices: bm.Surgical(), by thirds of the 200
held out in turn, and the block that is best on those 100.

`python examples/surgery.py` takes an hour and a half on one core; accuracies in percent on the
photographs left (1,700; 700 after a feature shift), mean of five networks and targets, and the gain
over all layers with its standard error:

                          input               feature            output
    nothing           70.0                65.5                0.7
    block1            77.5  -1.0 +- 0.3   79.0 -10.8 +- 0.4  18.8 -44.4 +- 2.6
    block2            77.7  -0.9 +- 0.4   87.6  -2.2 +- 0.5  49.9 -13.3 +- 1.0
    block3            78.1  -0.4 +- 0.3   88.1  -1.7 +- 0.6  57.8  -5.4 +- 0.7
    block4            77.1  -1.5 +- 0.4   84.7  -5.1 +- 0.9  41.0 -22.2 +- 1.9
    last layer        73.5  -5.1 +- 1.3   84.7  -5.1 +- 0.9  77.2 +14.0 +- 1.5
    all layers        78.6                89.8               63.2
    by 100 more       78.1  -0.5 +- 0.3   88.1  -1.7 +- 0.6  77.2 +14.0 +- 1.5

bm.Surgical() was measured on the first two networks, at two of the rates: 77.6, 87.9 and 77.0.
One block is better than all layers after the output shift alone; docs/transfer.md says more.
"""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from figures.surgery import draw_accuracies
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta.models import corruptions, fashion_mnist, transfer

BLOCKS = ("block1", "block2", "block3", "block4", "last")
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
TRAIN, CHOOSE, STEPS = 200, 100, 60
# Tops, shoes, others, by the published numbers of the classes; the network sees the first half.
KINDS = torch.tensor([0, 2, 0, 2, 0, 1, 0, 1, 2, 1])
BEFORE = torch.tensor([0, 2, 7, 9, 1])


class Images(NamedTuple):
    """Photographs with their labels."""

    pixels: Tensor
    labels: Tensor


class Shift(NamedTuple):
    """What the network learned from, and what came then."""

    source: Images
    target: Images
    classes: int


def clothes(split: fashion_mnist.Split) -> Images:
    """All photographs of the split."""
    examples = fashion_mnist.classes(split).examples.float() / 255
    return Images(examples, torch.arange(10).repeat_interleave(len(examples) // 10))


def corrupted(images: Tensor, seed: int) -> Tensor:
    """Each image made worse in one of six ways, at the highest severity."""
    ways: list[Callable[[Tensor], Tensor]] = [
        lambda x: corruptions.gaussian_noise(x, seed=seed),
        lambda x: corruptions.shot_noise(x, seed=seed),
        lambda x: corruptions.impulse_noise(x, seed=seed),
        corruptions.gaussian_blur,
        corruptions.contrast,
        corruptions.brightness,
    ]
    which = torch.randint(6, (len(images),), generator=torch.Generator().manual_seed(seed))
    worse = images.clone()
    for k, way in enumerate(ways):
        worse[which == k] = way(images[which == k])
    return worse


def shifts(seed: int) -> dict[str, Shift]:
    """The three, by name."""
    train, test = clothes(fashion_mnist.Split.TRAIN), clothes(fashion_mnist.Split.TEST)
    old, new = (torch.isin(images.labels, BEFORE) for images in (train, test))
    return {
        "input": Shift(train, Images(corrupted(test.pixels, seed), test.labels), 10),
        "feature": Shift(
            Images(train.pixels[old], KINDS[train.labels[old]]),
            Images(test.pixels[~new], KINDS[test.labels[~new]]),
            3,
        ),
        "output": Shift(train, Images(test.pixels, 9 - test.labels), 10),
    }


def network(classes: int, seed: int) -> bm.nets.Net:
    """Three convolutions and two linear layers."""
    with bm.nets.isolated(seed):
        blocks, channels = OrderedDict(), 1
        for k, (width, stride) in enumerate(((16, 2), (32, 2), (32, 1))):
            convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1)
            blocks[BLOCKS[k]] = nn.Sequential(convolution, nn.GroupNorm(4, width), nn.ReLU())
            channels = width
        blocks["block4"] = nn.Sequential(nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU())
        blocks["last"] = nn.Linear(64, classes)
        return bm.nets.Net(nn.Sequential(blocks))


def as_tasks(images: Images, size: int) -> bm.Tasks:
    """Tasks of so many images each."""
    count = len(images.labels) // size
    pixels = images.pixels[: count * size].view(count, size, 1, 28, 28)
    return bm.Tasks.from_arrays(
        images.labels[: count * size].view(count, size).float(), {"image": pixels}
    )


def trained(net: bm.nets.Net, images: Images, steps: int, seed: int) -> Tensor:
    """The network's weights after so many steps of 100 images."""
    order = torch.randperm(len(images.labels), generator=torch.Generator().manual_seed(seed))
    shuffled = Images(images.pixels[order], images.labels[order])
    point = bm.Point(batch_size=10, adam=bm.Adam(lr=1e-3, steps=steps, compile=False))
    tasks = as_tasks(shuffled, 10)
    post = bm.fit(
        transfer.source(net), tasks, theta=point, phi=bm.Joint(), seed=seed, progress=False
    )
    return post.theta["theta"][0, 0]


def accuracy(net: bm.nets.Net, phi: Tensor, images: Images) -> float:
    """The share of images that are told right."""
    chosen = net(phi, images.pixels[None])[0].argmax(-1)
    return float((chosen == images.labels).double().mean())


def one(
    shift: Shift, seed: int, steps: int, pre_training: int, rates: Sequence[float]
) -> dict[str, float]:
    """The accuracy on the target's other images, by what was fine-tuned."""
    net = network(shift.classes, seed)
    theta = trained(net, shift.source, pre_training, seed)
    order = torch.randperm(len(shift.target.labels), generator=torch.Generator().manual_seed(seed))
    parts = order.tensor_split([TRAIN, TRAIN + CHOOSE])
    few, choose, rest = (Images(shift.target.pixels[i], shift.target.labels[i]) for i in parts)
    known = bm.Fixed({"theta": theta})
    target = as_tasks(few, TRAIN)
    still = bm.FineTune([], progress=False)
    model = transfer.target(net, tau=0.1)
    post = bm.fit(model, target, theta=known, phi=still, progress=False)
    stages: dict[str, Callable[[float], bm.Stage]] = {
        name: lambda lr, name=name: bm.Surgical(f"phi.{name}", steps=steps, lr=lr)
        for name in BLOCKS
    }
    stages["all"] = lambda lr: bm.Full(steps=steps, lr=lr)
    stages["automatic"] = lambda lr: bm.Surgical(steps=steps, lr=lr)
    found, chosen = {"none": accuracy(net, theta, rest)}, {}
    for name, stage in stages.items():
        tuned = [
            post.adapt(target, phi=bm.FineTune([stage(lr)], progress=False)).free_phi[0, 0, 0]
            for lr in rates
        ]
        scores = [accuracy(net, phi, choose) for phi in tuned]
        chosen[name] = max(scores)
        found[name] = accuracy(net, tuned[scores.index(max(scores))], rest)
    found["by 100 more"] = found[max(BLOCKS, key=lambda name: chosen[name])]
    return found


def main() -> None:
    """Tune in each way after each shift, print the table and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the figure goes")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    seeds, steps, pre_training = (2, 2, 20) if args.smoke else (5, STEPS, 900)
    rates = RATES[:1] if args.smoke else RATES
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for name, shift in shifts(seed).items():
            for way, value in one(shift, seed, steps, pre_training, rates).items():
                found.setdefault(name, {}).setdefault(way, []).append(100 * value)
            print(f"seed {seed}, {name}: {json.dumps(found[name])}", flush=True)
    report(found)
    draw_accuracies(found, args.out / "surgery.png")


def report(found: dict[str, dict[str, list[float]]]) -> None:
    """Accuracies, and each way's gain over fine-tuning all, seed by seed."""
    for name, ways in found.items():
        print(f"{name} shift: accuracy, and gain over all layers, in percentage points")
        values = {way: torch.tensor(v) for way, v in ways.items()}
        for way, value in values.items():
            gain = value - values["all"]
            error = float(gain.std()) / len(gain) ** 0.5
            print(f"    {way:12} {value.mean():5.1f}   {gain.mean():+5.1f} +- {error:.1f}")


if __name__ == "__main__":
    main()
