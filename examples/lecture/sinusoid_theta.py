"""What theta holds of sine waves: python -m bayesmeta.lecture.sinusoid_theta"""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.means import mean_and_error
from bayesmeta.lecture.section import Number, Section
from bayesmeta.lecture.style import BLUE, GREY, ORANGE, panels
from bayesmeta.models import last_layer, sinusoid

NOISE, POINTS = 0.1, 10
# Where the training waves are seen.
GRID = torch.linspace(-5.0, 5.0, 101)
FREQUENCIES = torch.linspace(0.4, 1.8, 281)

TEXT = """
What is in theta? In meta-learning's best-known example every task is a wave y = a sin(x - p),
with an amplitude and a phase of its own. Those two are phi. What the tasks share is that they are
sine waves, and their period: all this is theta, though nobody has written it down.

The model is told nothing of sines. Its theta is a network that makes features of x, with a normal
prior of the weights that combine them: phi. Training sees {points} noisy points of each of
{tasks} waves (bm.ALPaCA: phi integrated out exactly, theta a point). What theta has learned then
shows in functions drawn from p(phi | theta), which no wave's data have touched: before training
they are smooth curves without a period, and afterwards sine waves of the right period.

The number is the share of a curve's square that sin x and cos x explain, which span all waves of
that period and nothing else: it is 1 for every task there is. The period is that of the sine wave
that fits the curve best.
"""


def unseen() -> bm.Tasks:
    """One task of which nothing is seen."""
    nothing = torch.zeros(1, 1, dtype=torch.bool)
    return bm.Tasks.from_arrays(nothing.float(), {"x": torch.zeros(1, 1, 1)}, mask=nothing)


def drawn(post: bm.Posterior) -> Tensor:
    """Functions with phi drawn from p(phi | theta), (draws, grid), in float64."""
    grid = bm.Tasks.from_arrays(None, {"x": GRID[None, :, None]}, names=unseen().names)
    return post.adapt(unseen()).predict(grid).means.flatten(0, 2).double()


def waves(count: int) -> Tensor:
    """The tasks themselves, without noise, (waves, grid)."""
    truth = sinusoid.truth(count, seed=1)
    return truth["amplitude"][:, None] * torch.sin(GRID.double() - truth["phase"][:, None])


def explained(curves: Tensor, frequency: float = 1.0) -> Tensor:
    """The share of each curve's square that sine and cosine of a frequency explain, (curves,)."""
    x = frequency * GRID.double()
    basis, _ = torch.linalg.qr(torch.stack([x.sin(), x.cos()], -1))
    return (curves @ basis).square().sum(-1) / curves.square().sum(-1)


def periods(curves: Tensor) -> Tensor:
    """The period of the sine wave that fits each curve best, (curves,)."""
    shares = torch.stack([explained(curves, float(f)) for f in FREQUENCIES])
    return 2 * math.pi / FREQUENCIES[shares.argmax(0)]


def train(tasks: bm.Tasks, steps: int) -> bm.Posterior:
    """Theta by its evidence, phi integrated out."""
    adam = bm.Adam(lr=0.01, steps=steps, patience=0, compile=False)
    pair = bm.ALPaCA(draws=500, batch_size=50, adam=adam)
    return bm.fit(last_layer.model, tasks, **pair, progress=False)


def section(smoke: bool = False) -> Section:
    """Functions drawn from theta before and after it has met waves."""
    count = 100 if smoke else 5000
    tasks = sinusoid.tasks(count, POINTS, noise=NOISE)
    # Before: theta where training starts, as it is after a single step of size next to nothing.
    start = bm.Adam(lr=1e-9, steps=1, patience=0, compile=False)
    untrained = bm.fit(
        last_layer.model, tasks[:50], **bm.ALPaCA(draws=500, adam=start), progress=False
    )
    trained = train(tasks, 20 if smoke else 2000)
    curves = {"before": drawn(untrained), "after": drawn(trained), "tasks": waves(500)}
    numbers = [
        Number(f"explained by sin x, cos x: {name}", *mean_and_error(explained(c)), oracle)
        for (name, c), oracle in zip(curves.items(), (None, 1.0, 1.0), strict=True)
    ]
    numbers.append(
        Number(
            "period of the draws after training",
            *mean_and_error(periods(curves["after"])),
            2 * math.pi,
        )
    )
    numbers.append(
        Number("noise sd that theta has found", trained.theta["sigma"][0, 0].item(), 0.0, NOISE)
    )
    return Section(
        "Theta is what waves have in common",
        TEXT.format(points=POINTS, tasks=count),
        numbers,
        {"sinusoid_theta": draw(curves)},
        (last_layer.last_layer, train, explained),
    )


def draw(curves: dict[str, Tensor]) -> Figure:
    """A dozen functions of each kind."""
    figure, axes = panels(3, (4.0, 3.6))
    titles = ("drawn from theta before training", "drawn from theta after", "tasks")
    for axis, title, found, color in zip(
        axes, titles, curves.values(), (GREY, ORANGE, BLUE), strict=True
    ):
        axis.plot(GRID, found[:12].T, color=color, lw=1.2, alpha=0.8)
        axis.set_title(title, loc="left")
        axis.set(xlabel="x", ylim=(-6, 6), xticks=[-math.pi, 0, math.pi])
        axis.set_xticklabels(["\u2212\u03c0", "0", "\u03c0"])
    axes[0].set_ylabel("y")
    return figure


if __name__ == "__main__":
    main(section)
