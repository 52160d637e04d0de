"""A new task with theta known and from scratch: python -m bayesmeta.lecture.learning_curves"""

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

SHOTS = (0, 1, 2, 4, 6, 10, 16)
QUERIES = 8
# At one prior sd from its mean theta costs the learner from scratch what it does on average: its
# score is quadratic in theta.
THETA = lecture.THETA_SD

TEXT = """
The lecture's first exercise: how does a learner that has theta do on a new task, against one that
has not, as datapoints come in?

Both do the same, Bayes' rule, from another start. With theta known phi has its prior N(theta,
{own:g}), and from scratch N(0, {whole:g}). On {tasks} new tasks each predicts {queries} outcomes
that it has not seen; the log score is the log of the density that it gave them, and of the mean
over tasks.

Before the first datapoint theta is worth most; with many, what the task says of itself is all
that counts, and the curves meet. Seen from the side they are one curve, shifted by the
{worth:.2f} datapoints that theta is worth. So a learner that has met related tasks is not a
better learner: it is one that starts later on the same curve. To be sure of a wrong theta, here
{wrong:g} away, is worse than to know none, and datapoints are slow to outvote it.
"""


def new_tasks(count: int) -> tuple[bm.Tasks, bm.Tasks]:
    """Tasks around THETA, their datapoints to learn from and those to be judged by."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=random)

    phi = THETA + lecture.PHI_SD * normal(count, 1)
    y = phi + lecture.NOISE * normal(count, max(SHOTS) + QUERIES)
    return bm.Tasks.from_arrays(y, {"x": torch.ones_like(y)}).split(max(SHOTS))


def scores(ways: dict[str, bm.Posterior], support: bm.Tasks, query: bm.Tasks) -> dict[str, Tensor]:
    """The log score of each task by the number of its datapoints seen, (shots, tasks)."""
    return {
        name: torch.stack(
            [post.adapt(first(support, shots)).log_score(query).mean(1) for shots in SHOTS]
        )
        for name, post in ways.items()
    }


def expected(start: float, prior_variance: float) -> Tensor:
    """The closed form of the expected log score, (shots,), from phi ~ N(start, prior_variance).

    E over phi ~ N(THETA, PHI_SD^2) and the data, of log N(y; m, v + NOISE^2).
    """
    n, noise = torch.tensor(SHOTS, dtype=torch.float64), lecture.NOISE**2
    variance = 1 / (1 / prior_variance + n / noise)
    kept = variance / prior_variance  # the weight that the start has among the datapoints
    from_start = kept.square() * ((THETA - start) ** 2 + lecture.PHI_SD**2)
    miss = noise + from_start + variance.square() * n / noise
    spread = noise + variance
    return -0.5 * (math.log(2 * math.pi) + spread.log() + miss / spread)


def gain(scores: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the other ways have over "from scratch", of the same shapes."""
    return {
        name: values - scores["from scratch"]
        for name, values in scores.items()
        if name != "from scratch"
    }


def compared(found: dict[str, Tensor], closed: dict[str, Tensor], name: str, place: int) -> Number:
    """The mean over tasks beside its closed form."""
    seen = f"after {SHOTS[place]}"
    kind = "log score" if "from scratch" in found else "gain over from scratch"
    mean = mean_and_error(found[name][place])
    return Number(f"{kind} {seen}, {name}", *mean, float(closed[name][place]))


def section(smoke: bool = False) -> Section:
    """The learning curves, and what they are at both ends."""
    count, draws = (100, 200) if smoke else (2000, 500)
    support, query = new_tasks(count)
    own, whole = lecture.PHI_SD**2, lecture.PHI_SD**2 + lecture.THETA_SD**2
    nothing, wrong = first(support[:1], 0), THETA - 2.0
    ways = {
        "theta known": bm.fit(
            lecture.meta_learning, nothing, **theta_known(THETA, draws), progress=False
        ),
        "from scratch": bm.fit(from_scratch, nothing, **theta_open(draws), progress=False),
        "wrong theta": bm.fit(
            lecture.meta_learning, nothing, **theta_known(wrong, draws), progress=False
        ),
    }
    found = scores(ways, support, query)
    closed = {
        "theta known": expected(THETA, own),
        "from scratch": expected(0.0, whole),
        "wrong theta": expected(wrong, own),
    }
    numbers = [compared(found, closed, name, 0) for name in ways]
    numbers += [
        compared(gain(found), gain(closed), name, place)
        for name in ("theta known", "wrong theta")
        for place in range(0, len(SHOTS), 3)
    ]
    worth = lecture.NOISE**2 * (1 / own - 1 / whole)
    text = TEXT.format(
        own=own, whole=whole, tasks=count, queries=QUERIES, worth=worth, wrong=abs(THETA - wrong)
    )
    figures = {"learning_curves": draw(found, closed)}
    return Section("Who has theta starts further on", text, numbers, figures, (scores, section))


def draw(found: dict[str, Tensor], closed: dict[str, Tensor]) -> Figure:
    """The score by datapoints: points with two standard errors, closed forms as lines."""
    figure, (axis,) = panels(1, (7.2, 4.4))
    places = {"theta known": (0.3, -1.44), "from scratch": (1.35, -1.8), "wrong theta": (2.3, -2.3)}
    for (name, values), color in zip(found.items(), (BLUE, GREY, ORANGE), strict=True):
        error = 2 * values.std(1) / values.shape[1] ** 0.5
        axis.plot(SHOTS, closed[name], color=color, lw=1.8)
        axis.errorbar(SHOTS, values.mean(1), error, fmt="o", color=color, ms=5, capsize=3)
        label(axis, *places[name], name, color)
    axis.set(
        xlabel="datapoints seen of the new task",
        ylabel="log score, nats an outcome",
        ylim=(None, -1.35),
    )
    axis.set_title("Points: inference, \u00b1 2 standard errors; lines: closed form", loc="left")
    return figure


if __name__ == "__main__":
    main(section)
