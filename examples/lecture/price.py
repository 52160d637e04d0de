"""What a point estimate costs, as a measurement: python -m bayesmeta.lecture.price"""

from __future__ import annotations

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.section import Number, Section
from bayesmeta.models import lecture

TASKS, SHOTS = 10, 5
INNER_STEPS, INNER_LR = 5, 0.05
_POINT = "empirical Bayes"

TEXT = """
MAML is the point-estimate special case of the lecture's model: a point for theta, and for each
task the point that a few gradient steps reach. Full Bayes keeps distributions of both. Between
them are the other corners: a distribution of theta without its correlation with phi (mean-field
variational inference), and a point of theta with all of phi (empirical Bayes).

bm.price fits all of them to the same {tasks} tasks of {shots} datapoints, and holds each against
exact inference. Distances are Wasserstein's between distributions of single numbers, in standard
deviations of the exact posterior: a point in the right place is at 0.80, as that is how far a
normal variable is from its mean on average. What is in the grey is Monte Carlo error.

At the level of theta a point costs everything that is known of its width. At the level of phi it
costs little where tasks have data of their own: with theta fixed, phi is narrower by the factor
sqrt(v / (v + b^2 V)), for v its variance given theta, b = d phi / d theta and V that of theta.
MAML's point is off as any point is, and by how far its steps go, which stand for a prior.
"""


def closed_forms(tasks: bm.Tasks) -> tuple[float, float]:
    """sds of theta by mean field, and of phi at a point of theta, over the exact ones."""
    shots = tasks.num_data
    data, prior = shots / lecture.NOISE**2, 1 / lecture.PHI_SD**2
    each = 1 / (1 / prior + 1 / data)
    exact = 1 / (1 / lecture.THETA_SD**2 + len(tasks) * each)
    # A mean-field Gaussian has the variance that is left when all others are known.
    alone = 1 / (1 / lecture.THETA_SD**2 + len(tasks) * prior)
    given = 1 / (data + prior)
    whole = given + (given * prior) ** 2 * exact
    return (alone / exact) ** 0.5, (given / whole) ** 0.5


def section(smoke: bool = False) -> Section:
    """The price of the corners of one model."""
    tasks, draws = lecture.tasks(TASKS, SHOTS), 1000 if smoke else 20_000
    adam = bm.Adam(steps=300 if smoke else 3000, compile=False)
    pairs = {
        "mean field": (bm.Gaussian(bm.MeanField(), draws=draws, adam=adam), bm.Joint()),
        _POINT: (bm.Point(), bm.Exact(draws)),
        "MAML": bm.MAML(INNER_STEPS, INNER_LR, adam=adam),
    }
    found = bm.price(
        lecture.meta_learning,
        tasks,
        pairs,
        reference=(bm.Importance(draws), bm.Exact()),
        progress=False,
    )
    table, (theta, phi) = found.table, closed_forms(tasks)
    # Of a ratio of two sds, each of so many draws.
    error = draws**-0.5
    numbers = [
        Number("sd of theta: mean field over exact", table["theta sd"]["mean field"], error, theta),
        Number("sd of phi: empirical Bayes over exact", table["phi sd"][_POINT], error, phi),
    ]
    for level in ("theta", "phi"):
        column = table[f"{level} distance"]
        numbers += [Number(f"distance of {level}: {name}", column[name], error) for name in pairs]
    return Section(
        "What a point estimate costs: MAML is one corner",
        TEXT.format(tasks=TASKS, shots=SHOTS),
        numbers,
        {"price": found.draw()},
        (section, lecture.meta_learning),
    )


if __name__ == "__main__":
    main(section)
