"""Where theta alone solves the task: python -m bayesmeta.lecture.limit"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.means import mean_and_error
from bayesmeta.lecture.section import Number, Section
from bayesmeta.lecture.study import first, theta_known
from bayesmeta.lecture.style import BLUE, GREY, ORANGE, label, panels
from bayesmeta.models.lecture import NOISE, THETA_SD

SHOTS, QUERIES = 5, 8
SDS = (2.0, 0.5, 0.1, 0.02)

TEXT = """
The lecture's second exercise: what happens as H(phi | theta) goes to 0? Theta alone then solves
the task: whoever has it needs no data of a new task, and no adaptation.

For a continuous phi "0" is to be read with care. Its entropy depends on its units; as phi comes
to be known it goes to minus infinity, where that of a phi of finitely many values would go to 0.
What goes to 0 is the information that data have to add, I(phi; D | theta) = H(phi | theta) -
H(phi | theta, D), and with it all that adapting can gain.

Computed: the lecture's model with theta known and other standard deviations of phi around it,
{tasks} tasks of {shots} datapoints each. H(phi | theta) is from the model's density, H(phi |
theta, D) from draws of each task's posterior, and the gain is in the log score of outcomes not
seen, over a prediction by theta alone. At a standard deviation of {large:g} five datapoints are
worth a lot; at {small:g} they change nothing.
"""


class Found(NamedTuple):
    """What was found at one standard deviation: means with their standard errors."""

    before: tuple[float, float]
    after: tuple[float, float]
    told: tuple[float, float]
    gain: tuple[float, float]


def around_theta(sd: float) -> Callable[[bm.Tasks], None]:
    """The lecture's model with phi ~ N(theta, sd^2)."""

    def model(tasks: bm.Tasks) -> None:
        theta = pyro.sample("theta", dist.Normal(0.0, THETA_SD))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, sd))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * tasks.x["x"], NOISE), obs=tasks.y)

    return model


def data(sd: float, count: int) -> tuple[bm.Tasks, bm.Tasks]:
    """Tasks around theta = 0: what is learned from, and what is predicted."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1 + SHOTS + QUERIES, dtype=torch.float64, generator=random)
    y = sd * noise[:, :1] + NOISE * noise[:, 1:]
    return bm.Tasks.from_arrays(y, {"x": torch.ones_like(y)}).split(SHOTS)


def measure(sd: float, count: int, draws: int) -> Found:
    """Entropy of phi before and after the datapoints, and what they gain in prediction."""
    support, query = data(sd, count)
    pair = theta_known(0.0, draws)
    alone = bm.fit(around_theta(sd), first(support, 0), **pair, seed=1, progress=False)
    adapted = alone.adapt(support)
    before = bm.information.conditional_entropy(alone).value
    after = bm.information.entropy(adapted, "phi").value
    gain = (adapted.log_score(query) - alone.adapt(first(support, 0)).log_score(query)).mean(1)
    return Found(*(mean_and_error(v) for v in (before, after, before - after, gain)))


def information(sd: float) -> float:
    """I(phi; D | theta) of SHOTS datapoints in closed form."""
    return 0.5 * math.log(1 + SHOTS * sd**2 / NOISE**2)


def gain(sd: float) -> float:
    """What SHOTS datapoints add to the expected log score of an outcome, in closed form."""
    left = 1 / (1 / sd**2 + SHOTS / NOISE**2)
    return 0.5 * math.log((NOISE**2 + sd**2) / (NOISE**2 + left))


def entropy(sd: float) -> float:
    """H(phi | theta) in closed form."""
    return 0.5 * math.log(2 * math.pi * math.e * sd**2)


def section(smoke: bool = False) -> Section:
    """Entropy and gain as phi comes to be known by theta."""
    count, draws = (50, 200) if smoke else (400, 1000)
    found = {sd: measure(sd, count, draws) for sd in SDS}
    numbers = []
    for sd in SDS:
        numbers += [
            Number(f"sd {sd:g}: H(phi | theta), nats", *found[sd].before, entropy(sd)),
            Number(
                f"sd {sd:g}: told by {SHOTS} datapoints, nats", *found[sd].told, information(sd)
            ),
            Number(f"sd {sd:g}: gain in log score", *found[sd].gain, gain(sd)),
        ]
    return Section(
        "In the limit theta solves the task",
        TEXT.format(tasks=count, shots=SHOTS, large=SDS[0], small=SDS[-1]),
        numbers,
        {"limit": draw(found)},
        (measure, section),
    )


def draw(found: dict[float, Found]) -> Figure:
    """The entropies, and what data add, against the standard deviation of phi given theta."""
    figure, (left, right) = panels(2, (5.4, 4.2))
    sds, fine = list(found), torch.logspace(math.log10(SDS[-1]), math.log10(SDS[0]), 100).tolist()
    left.plot(fine, [entropy(sd) for sd in fine], color=BLUE, lw=1.8)
    left.plot(fine, [entropy(sd) - information(sd) for sd in fine], color=ORANGE, lw=1.8)
    left.plot(sds, [f.before[0] for f in found.values()], "o", color=BLUE)
    left.plot(sds, [f.after[0] for f in found.values()], "s", color=ORANGE)
    label(left, 0.42, 1.3, "H(phi | theta)", BLUE, ha="right")
    label(left, 2.9, -0.75, f"after {SHOTS} datapoints", ORANGE, ha="right")
    left.set_ylabel("entropy of phi, nats")
    left.set_title("phi comes to be known by theta", loc="left")
    right.plot(fine, [information(sd) for sd in fine], color=GREY, lw=1.8)
    right.plot(fine, [gain(sd) for sd in fine], color="black", lw=1.8)
    for name, color in (("told", GREY), ("gain", "black")):
        pairs = [getattr(f, name) for f in found.values()]
        values, errors = zip(*pairs, strict=True)
        right.errorbar(sds, values, [2 * e for e in errors], fmt="o", color=color, capsize=3)
    label(right, 0.95, 1.15, "information in\nthe datapoints", GREY, ha="right")
    label(right, 1.95, 0.1, "gain in\nlog score", "black", ha="center")
    right.set_ylabel("nats")
    right.set_title("so that data add nothing", loc="left")
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xlim(SDS[-1] * 0.8, 3.2)
        axis.set_xticks([0.02, 0.1, 0.5, 2], ["0.02", "0.1", "0.5", "2"])
        axis.set_xlabel("sd of phi given theta (noise: 1)")
    return figure


if __name__ == "__main__":
    main(section)
