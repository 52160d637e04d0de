"""Multi-task learning, transfer and meta-learning: one dataset, three calls, one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.stats import chi2
from torch import Tensor

import bayesmeta as bm
from bayesmeta.lecture.means import mean_and_error
from bayesmeta.lecture.section import Number, Section
from bayesmeta.models import lecture, omniglot

SHOTS, QUERIES, SOURCES = 3, 20, 20
STEPS, LR = 5, 0.05
PRECISION = lecture.PHI_SD**-2
NUTS = bm.NUTS(chains=2, tune=300, draws=300, compile=False)


def data(num_tasks: int) -> tuple[bm.Tasks, bm.Tasks, bm.Tasks]:
    """Source tasks, and target tasks: three datapoints each, and twenty to be predicted."""
    tasks = lecture.tasks(SOURCES + num_tasks, SHOTS + QUERIES, slope=True)
    support, query = tasks[SOURCES:].split(SHOTS)
    return tasks[:SOURCES], support, query


def multi_task(sources: bm.Tasks, support: bm.Tasks, query: bm.Tasks) -> Tensor:
    """All tasks learn together: sources and targets are in the fit; (tasks, data)."""
    targets = support.widen(sources.num_data)
    both = bm.Tasks.from_arrays(
        torch.cat([sources.y, targets.y]),
        {"x": torch.cat([sources.x["x"], targets.x["x"]])},
        torch.cat([sources.mask, targets.mask]),
    )
    post = bm.fit(lecture.model, both, theta=NUTS, phi=bm.Exact(), progress=False)
    phi: Tensor = post.phi["phi"][..., SOURCES:].mean((0, 1))
    return phi[:, None] * query.x["x"]


def transfer(source: bm.Tasks, support: bm.Tasks, query: bm.Tasks) -> Tensor:
    """Task b after task a: train on a to the end, then tune on b from there; (tasks, data)."""
    untrained, to_the_end = bm.Fixed({"theta": torch.tensor(0.0)}), bm.GradientSteps(200, lr=0.02)
    a = bm.fit(lecture.model, source, theta=untrained, phi=to_the_end, progress=False)
    start = bm.Fixed({"theta": a.phi["phi"][0, 0, 0]})
    few = bm.GradientSteps(STEPS, LR)
    return bm.fit(lecture.model, support, theta=start, phi=few, progress=False).predict(query).mean


def meta_learning(sources: bm.Tasks, support: bm.Tasks, query: bm.Tasks) -> Tensor:
    """Learn from the sources how tasks are; then meet tasks never seen; (tasks, data)."""
    post = bm.fit(lecture.model, sources, theta=NUTS, phi=bm.Exact(), progress=False)
    return post.adapt(support).predict(query).mean


def from_scratch(support: bm.Tasks, query: bm.Tasks) -> Tensor:
    """Each target alone, by least squares; (tasks, data)."""
    x = support.x["x"]
    slope = (x * support.y).sum(1) / x.square().sum(1)
    return slope[:, None] * query.x["x"]


def expected(error_of_phi: Callable[[float], float]) -> float:
    """Mean squared error of predictions, from that of phi at s = sum_j x_j^2, which is chi^2_3."""
    found, _ = quad(lambda s: chi2.pdf(s, SHOTS) * error_of_phi(s), 0, 60)
    return float(lecture.NOISE**2 + found)


def tuned(s: float) -> float:
    """Of phi after gradient steps from another task's estimate: what is left of it, and noise."""
    left = (1 - LR * s) ** STEPS
    apart = 2 * lecture.PHI_SD**2 + 1 / (SHOTS + QUERIES - 2)
    return (1 - left) ** 2 / s + left**2 * apart


def measured(what: str, predicted: Sequence[Tensor], query: bm.Tasks, oracle: float) -> Number:
    """Mean squared error over the query, with the error of a mean over tasks, or over repeats."""
    by_task = torch.stack([(one - query.y).square().mean(1) for one in predicted])
    units = by_task.mean(1) if len(predicted) > 1 else by_task[0]
    return Number(what, *mean_and_error(units), oracle)


def draw_episode() -> Figure:
    """A 5-way 1-shot episode of Omniglot, with the terms where they belong."""
    classes = omniglot.classes(omniglot.Split.TEST)
    task = classes.episodes(1, ways=5, shots=1, queries=3, seed=4)[:1]
    figure = Figure(figsize=(7.6, 5.2))
    for part, width, left, title in (
        (task, 1, 0.08, "support: 1 shot"),
        (task.query, 3, 0.36, "query: 3 images a class"),
    ):
        for k in range(5):
            for column, image in enumerate(part.x["image"][0, part.y[0] == k, 0]):
                box = (left + 0.125 * column, 0.735 - 0.18 * k, 0.115, 0.17)
                _show(figure.add_axes(box), image)
        middle = left + 0.125 * width / 2 - 0.005
        figure.text(middle, 0.93, title, ha="center", va="bottom", fontsize=12, weight="bold")
    for k in range(5):
        figure.text(0.05, 0.82 - 0.18 * k, str(k + 1), fontsize=13, ha="center", va="center")
    told = (
        "5-way: five classes\nthat training has\nnot seen.\n\n"
        "phi is inferred from\nthe support; the\nlabels of the query\nare predicted.\n\n"
        "This is one task.\ntheta is what all\ntasks share."
    )
    figure.text(0.765, 0.9, told, fontsize=12, va="top", linespacing=1.4)
    return figure


def _show(axes: Axes, image: Tensor) -> None:
    axes.imshow((1 - image).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])


def section(smoke: bool = False) -> Section:
    """The three settings on the same target tasks."""
    sources, support, query = data(50 if smoke else 1000)
    alone = [from_scratch(support, query)]
    one_by_one = [sources[i : i + 1] for i in range(3 if smoke else SOURCES)]
    from_one = [transfer(source, support, query) for source in one_by_one]
    together = [multi_task(sources, support, query)]
    adapted = [meta_learning(sources, support, query)]
    known = expected(lambda s: 1 / (PRECISION + s))
    return Section(
        "One dataset, three calls: multi-task learning, transfer, meta-learning",
        """
        In multi-task learning all tasks are there from the start, and are solved together. In
        transfer, task b is solved after task a, whose data are gone: only what was learned from
        them is left. In meta-learning many source tasks come first, and then new ones, each to be
        solved from a few datapoints.

        Here twenty source tasks and a thousand targets are slopes, y = phi x + noise, with three
        datapoints a target. The table has the mean squared error of predictions; noise alone is 1.
        The closed form of the last two rows is for a theta that is known, to which twenty sources
        come near. Fine-tuning carries over what one source was, and not how far tasks differ: some
        sources are good starts, others are not.

        The figure has the words of few-shot learning on a real episode of Omniglot.
        """,
        numbers=[
            measured("each target from scratch", alone, query, expected(lambda s: 1 / s)),
            measured("transfer, mean over the sources", from_one, query, expected(tuned)),
            measured("multi-task learning", together, query, known),
            measured("meta-learning", adapted, query, known),
        ],
        figures={"episode": draw_episode()},
        code=[multi_task, transfer, meta_learning],
    )
