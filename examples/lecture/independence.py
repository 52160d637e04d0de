"""Tasks are dependent, and independent given theta: python -m bayesmeta.lecture.independence"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.section import Number, Section
from bayesmeta.lecture.study import first, theta_known
from bayesmeta.lecture.style import BLUE, GREEN, ORANGE, label, panels
from bayesmeta.models import lecture

THETAS = (-3.5, 0.0, 3.5)

TEXT = """
Two tasks that have never met tell of each other. Draw theta, then phi_1 and phi_2 around it,
again and again: where phi_1 is large, phi_2 is likely to be large, since theta is. Hold theta,
and what is left of the two is their own: they are independent. That is why a learner of many
tasks is to learn theta, and why it is all that it can carry from one task to the next.

The graph says so without a number. Asked to explain(...) the two, it answers "{dependent}"; and
with theta given, "{independent}".

Some notes of the lecture have it the other way round: "if there is a path between variables, they
are independent". There is a path between phi_1 and phi_2 in both cases, by way of theta. What
counts is whether a path is active. A path through theta, from which both arrows start, is active
until theta is given; variables are d-separated, and then independent whatever the numbers, if no
path between them is active (Pearl 1988).

Computed: phi_1 and phi_2 drawn by bm.prior, their correlation, and what of it is left once theta
is held: in the same draws, as the correlation of what a regression on theta leaves; and in the
posterior of a model whose theta is known, by bm.Fixed.
"""


def correlation(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Of two sets of draws (draws,), with its standard error."""
    r = float(torch.corrcoef(torch.stack([one, other]))[0, 1])
    return r, (1 - r**2) / len(one) ** 0.5


def without(one: Tensor, theta: Tensor) -> Tensor:
    """What a linear regression on theta leaves of draws (draws,)."""
    centred = theta - theta.mean()
    slope = (one * centred).sum() / centred.square().sum()
    return one - one.mean() - slope * centred


def pairs_at(theta: float, draws: int, seed: int) -> Tensor:
    """phi_1 and phi_2 of two tasks without data where theta is known, (draws, 2)."""
    nothing = first(lecture.tasks(num_tasks=2, num_data=1), 0)
    pair = theta_known(theta, draws)
    post = bm.fit(lecture.meta_learning, nothing, **pair, seed=seed, progress=False)
    return post.phi["phi"][0]


def section(smoke: bool = False) -> Section:
    """phi_1 and phi_2 before and after theta is known."""
    draws = 1000 if smoke else 20_000
    tasks = lecture.tasks(num_tasks=2, num_data=1)
    prior = bm.prior(lecture.meta_learning, tasks, draws=draws)
    theta, phi = prior.theta["theta"].flatten(), prior.phi["phi"].flatten(0, 1)
    held = {value: pairs_at(value, draws, seed) for seed, value in enumerate(THETAS)}

    known = torch.cat([pairs - pairs.mean(0) for pairs in held.values()])
    shared, own = lecture.THETA_SD**2, lecture.PHI_SD**2
    numbers = [
        Number("correlation of phi_1 and phi_2", *correlation(*phi.T), shared / (shared + own)),
        Number(
            "the same, with theta taken out of the draws",
            *correlation(*(without(one, theta) for one in phi.T)),
            0.0,
        ),
        Number("the same, with theta known to the model", *correlation(*known.T), 0.0),
    ]
    graph = bm.graph(lecture.meta_learning, tasks)
    text = TEXT.format(
        dependent=graph.explain("phi[0]", "phi[1]"),
        independent=graph.explain("phi[0]", "phi[1]", given=["theta"]),
    )
    return Section(
        "What tasks have in common is theta: given it, they are independent",
        text,
        numbers,
        {"independence": draw(theta, phi, held, numbers[0].found)},
        (lecture.meta_learning, section),
    )


def draw(theta: Tensor, phi: Tensor, held: dict[float, Tensor], found: float) -> Figure:
    """Pairs of tasks, with theta drawn anew for each pair, and with theta held at three values."""
    figure, (left, right) = panels(2, (5.4, 4.6))
    points = left.scatter(phi[:1500, 0], phi[:1500, 1], c=theta[:1500], s=7, cmap="cividis", lw=0)
    bar = figure.colorbar(points, ax=left, shrink=0.85)
    bar.set_label("theta", fontsize=12)
    left.set_title("theta not known: dependent", loc="left")
    label(left, -6.3, 5.6, f"correlation r = {found:.3f}", "black")
    for (value, pairs), color in zip(held.items(), (BLUE, GREEN, ORANGE), strict=True):
        r, _ = correlation(*pairs.T)
        right.scatter(pairs[:500, 0], pairs[:500, 1], s=7, color=color, lw=0, alpha=0.7)
        label(right, value, value + 1.9, f"theta = {value:g}\nr = {r:+.3f}", color, ha="center")
    right.set_title("theta known: independent", loc="left")
    for axis in (left, right):
        axis.set(xlim=(-7.5, 7.5), ylim=(-7.5, 7.5), xlabel="phi of task 1", aspect="equal")
    left.set_ylabel("phi of task 2")
    return figure


if __name__ == "__main__":
    main(section)
