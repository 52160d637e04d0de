"""What theta takes from the entropy of phi: python -m bayesmeta.lecture.entropy_drop"""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.means import mean_and_error
from bayesmeta.lecture.section import Number, Section
from bayesmeta.lecture.study import first, from_scratch, theta_known, theta_open
from bayesmeta.lecture.style import BLUE, GREY, ORANGE, label, panels
from bayesmeta.models import lecture

MOST, GROUPS = 8, 10

TEXT = """
Entropy says how much is not known, here in nats. What is not known of a task, H(phi), is never
less than what is still not known once theta is, H(phi | theta), on average over theta; the
difference is the mutual information I(phi; theta). It is what meta-learning has to give, whatever
the method: a bound on what anyone can learn about a task from other tasks.

What is that worth? A task about which theta is known and of which no datapoint has been seen, and
a task from scratch, of which n have been: at which n is as much known of the one as of the other?
With unit noise, n datapoints make a precision of 1/{whole:g} from scratch into 1/{whole:g} + n,
and knowing theta makes it 1/{own:g}. So theta is worth {worth:.3f} datapoints, of every task to
come.

Computed: H(phi) from 20,000 draws by the distances to their neighbours, H(phi | theta) from the
model's density; the information as their difference, and without any density from pairs of draws.
The worth is read off posteriors of {tasks} tasks that start from scratch: the precision of their
draws of phi after 0 to {most} datapoints, and where its line crosses the precision of those of a
task whose theta is known.
"""


def normal_entropy(variance: float) -> float:
    """Of a normal distribution, in nats."""
    return 0.5 * math.log(2 * math.pi * math.e * variance)


def precisions(tasks: bm.Tasks, draws: int) -> Tensor:
    """1 / var(phi | n datapoints) from scratch, (counts, groups); counts are 0 to MOST."""
    found = []
    for count in range(MOST + 1):
        post = bm.fit(from_scratch, first(tasks, count), **theta_open(draws), progress=False)
        found.append(1 / grouped_variance(post))
    return torch.stack(found)


def grouped_variance(post: bm.Posterior) -> Tensor:
    """The variance of phi within tasks, averaged over the tasks of each group, (groups,)."""
    return post.phi["phi"].flatten(0, 1).var(0).reshape(GROUPS, -1).mean(1)


def crossing(precision: Tensor, known: Tensor) -> Tensor:
    """How many datapoints take a task from scratch to the precision of a known theta, (groups,)."""
    counts = torch.arange(len(precision), dtype=precision.dtype)
    centred = counts - counts.mean()
    slope = (centred[:, None] * precision).sum(0) / centred.square().sum()
    return counts.mean() + (known - precision.mean(0)) / slope


def entropies(draws: int) -> list[Number]:
    """H(phi), H(phi | theta) and what is between them."""
    prior = bm.prior(lecture.meta_learning, lecture.tasks(num_tasks=1, num_data=1), draws=draws)
    alone, given = bm.information.entropy(prior, "phi"), bm.information.conditional_entropy(prior)
    told = bm.information.mutual_information(prior, "phi", "theta")
    own, whole = lecture.PHI_SD**2, lecture.PHI_SD**2 + lecture.THETA_SD**2
    gap, gap_error = alone.value - given.value, torch.hypot(alone.error, given.error)
    oracle = normal_entropy(whole), normal_entropy(own)
    return [
        Number("H(phi), nats", alone.value.item(), alone.error.item(), oracle[0]),
        Number("H(phi | theta), nats", given.value.item(), given.error.item(), oracle[1]),
        Number("their difference", gap.item(), gap_error.item(), oracle[0] - oracle[1]),
        Number(
            "I(phi; theta) from pairs of draws, nats",
            told.value.item(),
            told.error.item(),
            oracle[0] - oracle[1],
        ),
    ]


def section(smoke: bool = False) -> Section:
    """The entropy of phi with and without theta, and theta's worth in datapoints."""
    count, draws = (20, 200) if smoke else (200, 1000)
    numbers = entropies(1000 if smoke else 20_000)
    tasks = lecture.tasks(num_tasks=count, num_data=MOST)
    precision = precisions(tasks, draws)
    pair = theta_known(0.0, draws)
    post = bm.fit(lecture.meta_learning, first(tasks, 0), **pair, progress=False, seed=1)
    known = 1 / grouped_variance(post)
    worth = crossing(precision, known)
    own, whole = lecture.PHI_SD**2, lecture.PHI_SD**2 + lecture.THETA_SD**2
    oracle = lecture.NOISE**2 * (1 / own - 1 / whole)
    numbers.append(Number("what theta is worth, datapoints", *mean_and_error(worth), oracle))
    return Section(
        "Knowing theta takes entropy from phi",
        TEXT.format(tasks=count, most=MOST, own=own, whole=whole, worth=oracle),
        numbers,
        {"entropy_drop": draw(numbers, precision.mean(1), float(known.mean()))},
        (bm.information.conditional_entropy, section),
    )


def draw(numbers: list[Number], precision: Tensor, known: float) -> Figure:
    """The two entropies as bars, and the precision of phi against the datapoints seen."""
    figure, (left, right) = panels(2, (5.4, 4.2))
    names = ("H(phi)", "H(phi | theta)", "I(phi; theta)")
    shown = (numbers[0], numbers[1], numbers[3])
    for place, (number, color) in enumerate(zip(shown, (GREY, BLUE, ORANGE), strict=True)):
        # What theta tells is the part of H(phi) that H(phi | theta) lacks: it is drawn there.
        bottom = numbers[1].found if place == 2 else 0.0
        left.bar(place, number.found, bottom=bottom, color=color, width=0.65)
        middle = bottom + number.found / 2
        left.text(place, middle, f"{number.found:.3f}", color="white", ha="center", fontsize=13)
    left.set_xticks(range(3), names, fontsize=12)
    left.set_ylabel("nats")
    left.set_title("What is not known of a task", loc="left")

    counts = torch.arange(len(precision))
    worth = numbers[-1].found
    right.plot(counts, precision, "o-", color=GREY)
    right.axhline(known, color=BLUE, lw=2)
    right.vlines(worth, 0, known, color=ORANGE, lw=2, ls="--")
    label(right, 8, known - 0.15, "theta known, no datapoint", BLUE, ha="right", va="top")
    label(right, 5.2, 6.0, "from scratch", GREY, ha="right")
    label(right, worth + 0.15, 0.35, f"worth {worth:.2f} datapoints", ORANGE)
    right.set(xlabel="datapoints seen of the task", ylabel="precision of phi", ylim=(0, None))
    right.set_title("What theta is worth", loc="left")
    return figure


if __name__ == "__main__":
    main(section)
