"""A network that reads datasets is inference: python -m bayesmeta.lecture.two_views"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure
from torch import Tensor

import bayesmeta as bm
from bayesmeta.lecture.command import main
from bayesmeta.lecture.means import mean_and_error
from bayesmeta.lecture.section import Number, Section
from bayesmeta.lecture.style import BLUE, GREY, ORANGE, label, panels
from bayesmeta.models import lecture, neural_process

THETA, SHOTS, QUERIES = 2.0, 10, 8
SHOWN = (1, 3, 10)
LATENT, HIDDEN = 32, 32

TEXT = """
The lecture shows meta-learning in two ways. In the mechanistic view there is a network that reads
a dataset and a new x, and predicts y; it is trained on many datasets. In the probabilistic view
there is a model in which theta is shared; learning is inference of theta, and adapting is
inference of phi.

They are two views of one thing. Where tasks come from a model, the network that predicts best on
average over tasks is p(y | x, D, theta), whether it has heard of phi or not; so a network that is
trained well enough computes the posterior predictive of the model.

Here the lecture's model makes {tasks} tasks of up to {shots} datapoints around one theta. The
mechanistic learner is a conditional neural process (bm.ConditionalNeuralProcess; Garnelo et al.
2018), a network of sets that knows neither plates nor normal distributions of phi. The
probabilistic learner estimates theta from the same tasks and integrates phi out (bm.Point(),
bm.Exact()). On {unseen} tasks that neither has seen their predictions are compared by the
Kullback-Leibler divergence from exact inference with theta known: 0 where they are the same, and
of the order of 1 where they have little in common. A network that was not trained shows what a
difference looks like.
"""


def make(count: int, seed: int) -> bm.Tasks:
    """Tasks of 0 to SHOTS datapoints around THETA, with a query, in float32."""
    random = torch.Generator().manual_seed(seed)
    phi = THETA + lecture.PHI_SD * torch.randn(count, 1, generator=random)
    y = phi + lecture.NOISE * torch.randn(count, SHOTS + QUERIES, generator=random)
    sizes = torch.randint(0, SHOTS + 1, (count, 1), generator=random)
    return parted(y, torch.arange(SHOTS) < sizes)


def parted(y: Tensor, mask: Tensor) -> bm.Tasks:
    """The first SHOTS of y as the support, and the others as its query."""
    x, names = torch.ones(*y.shape, 1), range(len(y))
    support = bm.Tasks.from_arrays(y[:, :SHOTS], {"x": x[:, :SHOTS]}, mask, names)
    query = bm.Tasks.from_arrays(y[:, SHOTS:], {"x": x[:, SHOTS:]}, names=names)
    return support.with_query(query)


def for_lecture(tasks: bm.Tasks) -> bm.Tasks:
    """The same support as the lecture's model reads it: x["x"] of shape (tasks, data), float64."""
    x = tasks.x["x"][..., 0].double()
    return bm.Tasks.from_arrays(tasks.y.double(), {"x": x}, tasks.mask, tasks.names)


def network(tasks: bm.Tasks, steps: int) -> bm.Posterior:
    """The mechanistic view: an encoder of datasets and a decoder of x, trained together."""
    decoder = bm.nets.perceptron(1 + LATENT, HIDDEN, HIDDEN, 2, seed=0)
    model = neural_process.functions(decoder, LATENT)
    adam = bm.Adam(lr=2e-3, steps=steps, patience=0, compile=False)
    pair = bm.ConditionalNeuralProcess(batch_size=64, adam=adam)
    return bm.fit(model, tasks, **pair, progress=False)


def inference(tasks: bm.Tasks, draws: int) -> bm.Posterior:
    """The probabilistic view: theta by the evidence of all tasks, phi integrated out."""
    pair = bm.ALPaCA(draws=draws, adam=bm.Adam(lr=0.1, steps=300, patience=0, compile=False))
    return bm.fit(lecture.meta_learning, for_lecture(tasks), **pair, progress=False)


def predictive(post: bm.Posterior, support: bm.Tasks, query: bm.Tasks) -> tuple[Tensor, Tensor]:
    """Mean and sd of the next y of each task, (tasks,)."""
    found = post.adapt(support).predict(query)
    return found.mean[:, 0].double(), found.sd[:, 0].double()


def exact(support: bm.Tasks) -> tuple[Tensor, Tensor]:
    """The same in closed form, with theta known."""
    n = support.mask.sum(1)
    total = torch.where(support.mask, support.y, 0.0).sum(1).double()
    variance = 1 / (1 / lecture.PHI_SD**2 + n / lecture.NOISE**2)
    mean = variance * (THETA / lecture.PHI_SD**2 + total / lecture.NOISE**2)
    return mean, (variance + lecture.NOISE**2).sqrt()


def divergence(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> Tensor:
    """KL(one, other) in nats of normal distributions given by mean and sd, (tasks,)."""
    normals = (torch.distributions.Normal(*pair) for pair in (one, other))
    return torch.distributions.kl_divergence(*normals)


def section(smoke: bool = False) -> Section:
    """Both views on tasks that neither has seen."""
    count, unseen, draws = (500, 50, 200) if smoke else (20_000, 1000, 4000)
    train, new = make(count, seed=0), make(unseen, seed=1)
    query = new.query
    post = inference(train, draws)
    given, to_predict = for_lecture(new), for_lecture(query)
    truth = exact(new)
    found = {
        "network": predictive(network(train, 30 if smoke else 2000), new, query),
        "network, not trained": predictive(network(train, 1), new, query),
    }
    found["inference"] = predictive(post, given, to_predict)
    pairs = {
        "between the two views": (found["inference"], found["network"]),
        "exact inference from network": (truth, found["network"]),
        "exact inference from inference": (truth, found["inference"]),
        "exact inference from network, not trained": (truth, found["network, not trained"]),
    }
    numbers = [
        Number(f"KL, 1/1000 nat: {name}", *mean_and_error(1000 * divergence(*pair)), 0.0)
        for name, pair in pairs.items()
    ]
    # Of theta itself, by the tasks that there happen to be.
    spread = lecture.PHI_SD**2 + lecture.NOISE**2 / train.mask.sum(1).clamp(min=1)
    error = float((train.mask.any(1) / spread).sum()) ** -0.5
    numbers.append(Number("theta, by inference", post.theta["theta"][0, 0].item(), error, THETA))
    return Section(
        "A network that reads datasets, and inference, predict the same",
        TEXT.format(tasks=count, shots=SHOTS, unseen=unseen),
        numbers,
        {"two_views": draw(new, found)},
        (network, inference, lecture.meta_learning),
    )


def draw(new: bm.Tasks, found: dict[str, tuple[Tensor, Tensor]]) -> Figure:
    """The network's prediction against the mean of the datapoints; lines are exact inference."""
    figure, (left, right) = panels(2, (5.4, 4.2))
    sizes, (mean, sd) = new.mask.sum(1), found["network"]
    average = torch.where(new.mask, new.y, 0.0).sum(1) / sizes.clamp(min=1)
    for count, color in zip(SHOWN, (GREY, BLUE, ORANGE), strict=True):
        own = sizes == count
        weight = count / (count + lecture.NOISE**2 / lecture.PHI_SD**2)
        ends = torch.tensor([-1.0, 5.0])
        left.plot(ends, THETA + weight * (ends - THETA), color=color, lw=1.6)
        left.plot(average[own], mean[own], "o", color=color, ms=4, mec="white", mew=0.4)
        height = THETA + weight * (5.0 - THETA)
        label(left, 5.1, height, f"n = {count}", color, va="center")
    left.set(xlabel="mean of the n datapoints seen", ylabel="predicted mean of y", xlim=(-1, 6))
    left.set_title("Points: network; lines: exact inference", loc="left")
    counts = torch.arange(SHOTS + 1)
    closed = (1 / (1 / lecture.PHI_SD**2 + counts / lecture.NOISE**2) + lecture.NOISE**2).sqrt()
    right.plot(counts, closed, color="black", lw=1.6)
    right.plot(sizes, sd, "o", color=BLUE, ms=4, mec="white", mew=0.4)
    right.axhline(lecture.NOISE, color=GREY, lw=1.2, ls="--")
    label(right, 0.1, lecture.NOISE + 0.006, "noise alone", GREY)
    label(right, 0.35, 1.113, "exact", "black")
    label(right, 10.3, 1.085, "network, a point a task", BLUE, ha="right", va="bottom")
    right.set(xlabel="datapoints seen, n", ylabel="predicted sd of y", ylim=(0.95, None))
    right.set_title("The network has learned to be unsure", loc="left")
    return figure


if __name__ == "__main__":
    main(section)
