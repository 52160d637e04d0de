"""A learner that is too sure of theta: python -m bayesmeta.lecture.meta_overfitting"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import chi2, norm
from torch import Tensor

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.means import mean_and_error
from bayesmeta.lecture.section import Number, Section
from bayesmeta.lecture.studies import (
    SHOTS,
    Truth,
    copies,
    plug_in,
    simulated,
    studies,
    tau_known,
    with_new_task,
)
from bayesmeta.lecture.style import BLUE, GREEN, GREY, ORANGE, label, panels
from bayesmeta.models.lecture import NOISE, PHI_SD, THETA_SD

LEVEL = 0.9
TASKS = (3, 10, 100)
ENTROPY_TASKS = (1, 5, 100)

TEXT = """
The lecture's third exercise: theta is learned from finitely many tasks, and a learner who takes
its estimate for the truth is too sure of the next task. This is overfitting one level up: no
number of datapoints a task cures it, only more tasks.

First what can be known. With theta to be inferred, a new task without data is open by H(phi_new |
I tasks), which falls towards H(phi | theta) = {limit:.4f} nats as tasks come in: each task here
has {shots} datapoints.

Then who claims to know more. The plug-in learner estimates theta and tau, the spread of tasks, by
maximum likelihood, phi integrated out: bm.Point() with bm.Exact(), which is empirical Bayes, and
what MAML and neural processes do with theta. It says that phi_new is in an interval with
probability 0.9. Over many simulated studies it is right as often as the table says: after {few}
tasks in {right:.0%} of them, since the spread of three tasks is easily taken for noise, and theta
has an uncertainty of its own which a point does not have. Full Bayes claims 0.9 and has 0.9: in
closed form where tau is known, and by NUTS where tau has a prior, in studies whose tau comes from
it.

The closed form of the plug-in's coverage integrates over the estimate of tau; it is for the
lecture's model, in which tau is {tau:g}.
"""


def entropies(counts: Sequence[int], draws: int) -> list[Number]:
    """H(phi_new | I tasks) at these I, with tau known and theta integrated out."""
    numbers = []
    for count in counts:
        study = with_new_task(simulated(1, count, seed=count), count)
        post = bm.fit(tau_known, study, **_exact(draws), seed=count, progress=False)
        found = bm.information.entropy(post, "new")
        what = f"H(phi_new | I = {count}), nats"
        numbers.append(Number(what, found.value.item(), found.error.item(), entropy(count)))
    return numbers


def entropy(count: int) -> float:
    """H(phi_new | I tasks) in closed form."""
    return 0.5 * math.log(2 * math.pi * math.e * (PHI_SD**2 + theta_variance(count)))


def theta_variance(count: int) -> float:
    """var(theta | I tasks): a task's mean is around theta with the variance of phi and of noise."""
    return 1 / (1 / THETA_SD**2 + count / (PHI_SD**2 + NOISE**2 / SHOTS))


def plug_in_coverage(count: int, repeats: int, draws: int, steps: int) -> tuple[float, float]:
    """How often the plug-in's interval holds phi_new, over so many studies."""
    truth = simulated(repeats, count, seed=count)
    adam = bm.Adam(lr=0.05, steps=steps, patience=0)
    post = bm.fit(
        plug_in(repeats),
        studies(truth),
        theta=bm.Point(adam=adam),
        phi=bm.Exact(draws),
        progress=False,
    )
    return covered(truth, post.adapt(copies(repeats, 1)).phi["phi"].flatten(0, 1))


def plug_in_closed(count: int) -> float:
    """The plug-in's coverage by quadrature, over quantiles.

    Of task means, which vary by s^2 = tau^2 + NOISE^2 / n around theta, the maximum of the
    likelihood is their mean, and tau^2 their variance less NOISE^2 / n, or 0. The two are
    independent, and I times that variance is s^2 chi^2 with I - 1 degrees of freedom.
    """
    noise = NOISE**2 / SHOTS
    s2 = PHI_SD**2 + noise
    shares = (np.arange(4000) + 0.5) / 4000
    tau = np.sqrt(np.clip(chi2.ppf(shares, count - 1) * s2 / count - noise, 0.0, None))
    width = norm.ppf(0.5 + LEVEL / 2) * tau / math.sqrt(PHI_SD**2 + s2 / count)
    return float((2 * norm.cdf(width) - 1).mean())


def bayes_coverage(count: int, repeats: int, draws: int) -> tuple[float, float]:
    """The same of full Bayes where tau is known, in closed form."""
    truth = simulated(repeats, count, seed=count)
    post = bm.fit(tau_known, with_new_task(truth, count), **_exact(draws), progress=False)
    return covered(truth, post.phi["new"].flatten(0, 1))


def bayes_tau_unknown(count: int, repeats: int, draws: int) -> tuple[float, float]:
    """The same by NUTS, with a prior on tau that the studies' tau are drawn from."""
    truth = simulated(repeats, count, seed=count, tau_drawn=True)
    model = plug_in(repeats, tau_has_prior=True)
    nuts = bm.NUTS(chains=1, tune=draws, draws=draws, compile=False)
    post = bm.fit(model, studies(truth), theta=nuts, phi=bm.Exact(), progress=False)
    # Ten new tasks a study, so that quantiles rest on more draws than theta has.
    phi = post.adapt(copies(repeats, 10)).phi["phi"].flatten(0, 1)
    return covered(truth, phi.reshape(draws, repeats, 10).movedim(2, 1).flatten(0, 1))


def covered(truth: Truth, phi: Tensor) -> tuple[float, float]:
    """The probability of the interval of draws (draws, studies) under p(phi_new | theta, tau)."""
    tails = torch.tensor([0.5 - LEVEL / 2, 0.5 + LEVEL / 2], dtype=phi.dtype)
    low, high = torch.special.ndtr((phi.quantile(tails, dim=0) - truth.theta) / truth.tau)
    inside = high - low
    return mean_and_error(inside)


def _exact(draws: int) -> bm.Pair:
    return {"theta": bm.Fixed({}), "phi": bm.Exact(draws)}


def section(smoke: bool = False) -> Section:
    """What is not known after I tasks, and how often those are right who say that they know."""
    repeats = {count: 5 if smoke else r for count, r in zip(TASKS, (4000, 2000, 200), strict=True)}
    draws, steps = (200, 40) if smoke else (1000, 800)
    plug = [
        Number(f"plug-in covers, I = {n}", *plug_in_coverage(n, r, draws, steps), plug_in_closed(n))
        for n, r in repeats.items()
    ]
    bayes = [
        Number(f"full Bayes, tau known, I = {n}", *bayes_coverage(n, r, draws), LEVEL)
        for n, r in ((3, min(repeats[3], 2000)), (10, min(repeats[10], 500)))
    ]
    nuts = Number(
        f"full Bayes, tau unknown, I = {TASKS[0]}",
        *bayes_tau_unknown(TASKS[0], 3 if smoke else 200, 50 if smoke else 250),
        LEVEL,
    )
    spread = entropies(ENTROPY_TASKS[: 2 if smoke else 3], 1000 if smoke else 20_000)
    text = TEXT.format(
        limit=0.5 * math.log(2 * math.pi * math.e * PHI_SD**2),
        shots=SHOTS,
        tau=PHI_SD,
        few=TASKS[0],
        right=plug[0].found,
    )
    return Section(
        "Few tasks: a point estimate of theta is too sure",
        text,
        [*spread, *plug, *bayes, nuts],
        {"meta_overfitting": draw(spread, plug, bayes, nuts)},
        (plug_in, plug_in_coverage, bayes_tau_unknown),
    )


def draw(spread: list[Number], plug: list[Number], bayes: list[Number], nuts: Number) -> Figure:
    """Entropy of the next task, and coverage of its intervals, by the number of tasks seen."""
    figure, (left, right) = panels(2, (5.4, 4.2))
    fine = sorted({round(10 ** (k / 20)) for k in range(41)})
    left.plot(fine, [entropy(n) for n in fine], color=BLUE, lw=1.8)
    left.plot(ENTROPY_TASKS[: len(spread)], [n.found for n in spread], "o", color=BLUE)
    limit = 0.5 * math.log(2 * math.pi * math.e * PHI_SD**2)
    left.axhline(limit, color=GREY, lw=1.2, ls="--")
    label(left, 1, limit - 0.045, "theta known", GREY)
    label(left, 3.2, 1.0, "theta learned from I tasks", BLUE)
    left.set(ylabel="entropy of a new task's phi, nats", ylim=(limit - 0.1, None))
    left.set_title("What is not known of the next task", loc="left")

    fine = [n for n in fine if n >= 2]
    right.plot(fine, [plug_in_closed(n) for n in fine], color=ORANGE, lw=1.8)
    _points(right, TASKS, plug, "o", ORANGE)
    _points(right, TASKS[: len(bayes)], bayes, "s", BLUE)
    _points(right, [TASKS[0] * 1.25], [nuts], "D", GREEN)
    right.axhline(LEVEL, color=GREY, lw=1.2, ls="--")
    label(right, 100, LEVEL + 0.02, "claimed", GREY, ha="right")
    label(right, 14, 0.57, "plug-in estimate\nof theta and tau", ORANGE)
    label(right, 2, 0.945, "full Bayes, tau known", BLUE)
    label(right, 1.1, 0.8, "full Bayes,\ntau unknown", GREEN)
    right.set(ylabel="coverage of 90% intervals", ylim=(0, 1.02))
    right.set_title("How often those who say so are right", loc="left")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks([1, 3, 10, 30, 100], ["1", "3", "10", "30", "100"])
        axis.set_xlabel(f"tasks seen, I (of {SHOTS} datapoints each)")
    return figure


def _points(
    axis: Axes, places: Sequence[float], numbers: Sequence[Number], marker: str, color: str
) -> None:
    values = [number.found for number in numbers]
    errors = [2 * number.error for number in numbers]
    axis.errorbar(places, values, errors, fmt=marker, color=color, ms=6, capsize=3)


if __name__ == "__main__":
    main(section)
