"""A model that reads padding is refused, in words; one that leaves it out is not."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta.model.padding import check_padding
from bayesmeta.model.reading import read
from bayesmeta.models import attentive_process, convolutional_process, neural_process
from bayesmeta.running.handlers import Model
from tests.cases import NETWORKS, ZOO, drop

X = [[0.3, 1.0, 2.5, 0.8], [1.9, -0.4], [2.2]]
Y = [[1.1, 0.2, 2.0, 1.4], [0.7, 2.6], [1.3]]
RAGGED = bm.Tasks.from_list(Y, {"x": X, "z": [0.1, 0.2, 0.3]}, names=["a", "b", "c"])
ONE_SIZE = bm.Tasks.from_list([row[:1] * 3 for row in Y], {"x": [row[:1] * 3 for row in X]})
KNOWN = bm.Fixed({"mu": 0.5, "tau": 1.5})


def of(
    column: Callable[[bm.Tasks], Tensor],
    obs: Callable[[bm.Tasks], Tensor | None] = lambda tasks: tasks.y,
) -> Model:
    """y_ij ~ N(phi_i * column_ij, 1)."""

    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
        tau = pyro.sample("tau", dist.HalfNormal(3.0))
        read = column(tasks)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * read, 1.0), obs=obs(tasks))

    return model


def prior_reads(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(tasks.x["x"].mean(1, keepdim=True), 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def factor_reads(tasks: bm.Tasks) -> None:
    of(plain)(tasks)
    pyro.factor("penalty", -tasks.x["x"].square().sum())


def plain(tasks: bm.Tasks) -> Tensor:
    return tasks.x["x"]


def last_first(tasks: bm.Tasks) -> Tensor:
    return tasks.x["x"].flip(1).cumsum(1).flip(1)


READ_PADDING: dict[str, tuple[Model, tuple[str, ...]]] = {
    "mean": (of(lambda t: t.x["x"] - t.x["x"].mean(1, keepdim=True)), ("'y'", "x['x']", "'b'")),
    "sum": (of(lambda t: t.x["x"].sum(1, keepdim=True)), ("'y'", "x['x']")),
    "softmax": (of(lambda t: t.x["x"].softmax(1)), ("'y'", "x['x']")),
    "sort": (of(lambda t: t.x["x"].sort(1).values), ("'y'", "x['x']")),
    "from the end": (of(last_first), ("'y'", "x['x']")),
    "flip of y": (of(plain, lambda t: None if t.y is None else t.y.flip(1)), ("cells of y",)),
    "count": (of(lambda t: t.x["x"] / t.num_data), ("'y'", "tasks.num_data", "no count")),
    "prior": (prior_reads, ("'phi'", "x['x']", "tasks.mean('x')")),
    "factor": (factor_reads, ("'penalty'", "x['x']")),
}


def heeds_mask(tasks: bm.Tasks) -> Tensor:
    scores = tasks.x["x"].masked_fill(~tasks.mask, -1e9)
    return (scores - scores.max(1, keepdim=True).values).softmax(1)


def noisy(tasks: bm.Tasks) -> Tensor:
    return tasks.x["x"] * torch.rand(tasks.num_tasks, tasks.num_data)


LEAVE_IT_OUT = {
    "nothing": of(plain),
    "mean": of(lambda t: t.x["x"] - t.mean("x")),
    "sum": of(lambda t: t.x["x"] / t.sum("x")),
    "count": of(lambda t: t.x["x"] / t.sizes[:, None].clamp(min=1)),
    "masked softmax": of(heeds_mask),
    "what comes before": of(lambda t: t.x["x"].cumsum(1)),
    "greatest, of which padding holds copies": of(lambda t: t.x["x"].amax(1, keepdim=True)),
    "one number a task": of(lambda t: t.x["z"].cumsum(1)),
    "random numbers": of(noisy),
    "data of its own": of(lambda t: t.x["x"] + torch.arange(4.0)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", READ_PADDING)
def test_a_model_that_reads_padding_is_refused(name: str, dtype: torch.dtype) -> None:
    model, words = READ_PADDING[name]
    with pytest.raises(bm.StructureError) as error:
        bm.structure(model, RAGGED.to(dtype=dtype))
    for word in (*words, "tasks.sizes"):
        assert word in str(error.value)


@pytest.mark.parametrize("name", READ_PADDING)
def test_without_padding_there_is_nothing_to_refuse(name: str) -> None:
    bm.structure(READ_PADDING[name][0], ONE_SIZE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", LEAVE_IT_OUT)
def test_a_model_that_leaves_padding_out_is_read(name: str, dtype: torch.dtype) -> None:
    read(LEAVE_IT_OUT[name], RAGGED.to(dtype=dtype))


def test_random_numbers_of_its_own_hide_no_padding() -> None:
    model = of(lambda t: noisy(t) - t.x["x"].mean(1, keepdim=True))
    with pytest.raises(bm.StructureError, match=r"x\['x'\]"):
        bm.structure(model, RAGGED)


def test_padding_between_datapoints_is_found_too() -> None:
    mask = torch.tensor([[True, False, True], [True, True, True]])
    x = torch.tensor([[1.0, 0.0, 3.0], [2.0, 5.0, 4.0]])
    tasks = bm.Tasks.from_arrays(x, {"x": x}, mask)
    with pytest.raises(bm.StructureError, match="task '0'"):
        bm.structure(of(lambda t: t.x["x"].cumsum(1)), tasks)
    bm.structure(of(plain), tasks)


def test_the_mean_of_an_empty_task_is_of_no_other_task() -> None:
    tasks = bm.Tasks.from_list([*Y, []], {"x": [*X, []]})
    with pytest.raises(bm.StructureError, match="'phi'"):
        bm.structure(prior_reads, tasks)
    assert float(tasks.mean("x")[-1]) == 0.0


@pytest.mark.parametrize("width", [4, 9])
def test_centred_by_the_masked_mean_phi_is_exact(width: int) -> None:
    model = LEAVE_IT_OUT["mean"]
    post = bm.fit(
        model, RAGGED.widen(width).to(dtype=torch.float64), theta=KNOWN, phi=bm.Exact(draws=20000)
    )
    for at, (x, y) in enumerate(zip(X, Y, strict=True)):
        c = torch.tensor(x, dtype=torch.float64) - sum(x) / len(x)
        precision = 1 / 1.5**2 + float(c.square().sum())
        mean = (0.5 / 1.5**2 + float((c * torch.tensor(y)).sum())) / precision
        drawn = post.phi["phi"][0, :, at].mean()
        # Four standard errors of the mean of the draws.
        assert abs(float(drawn) - mean) < 4 / (precision * 20000) ** 0.5


FUNCTIONS = neural_process.tasks(4, shots=5, queries=2)
PROCESSES = {
    "neural_process": (neural_process.model, FUNCTIONS, "z"),
    "attentive_process": (attentive_process.model, FUNCTIONS, "z"),
    "convolutional_process": (convolutional_process.model, FUNCTIONS, "z"),
}


@pytest.mark.parametrize("name", [*ZOO, *NETWORKS, *PROCESSES])
def test_the_zoo_reads_no_padding(name: str) -> None:
    model, tasks, _ = {**ZOO, **NETWORKS, **PROCESSES}[name]
    read(model, tasks if tasks.ragged or tasks.are_episodes else drop(tasks))


class Centred(nn.Module):
    """A normalisation that takes padding for data."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(0)


def images(norm: nn.Module) -> Callable[[bm.Tasks], None]:
    layers = nn.Conv2d(1, 2, 3), norm, nn.Flatten(), nn.Linear(8, 2)
    net = bm.nets.Net(nn.Sequential(*layers), reads_task=True)

    def model(tasks: bm.Tasks) -> None:
        weights = pyro.param("theta", lambda: net.weights())
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            bias = pyro.sample("bias", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = net(weights, tasks.x["image"]) + bias
                pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)

    return model


def test_a_normalisation_that_reads_padding_takes_tasks_of_one_size() -> None:
    x, classes = torch.randn(2, 3, 1, 4, 4), torch.tensor([[0, 1, 1], [1, 0, 1]])
    whole = bm.Tasks.from_arrays(classes, {"image": x}, names=["a", "b"])
    mask = torch.tensor([[True, True, True], [True, True, False]])
    ragged = bm.Tasks.from_arrays(classes, {"image": x}, mask, ["a", "b"])
    # One that leaves padding out takes all.
    bm.structure(images(bm.nets.TransductiveBatchNorm2d(2)), ragged)
    model = images(Centred())
    with pytest.raises(bm.StructureError, match=r"site 'y' .*x\['image'\].*batch normalisation"):
        bm.structure(model, ragged)
    # What was learned of whole tasks is not used on padded ones either.
    theta = bm.Point(adam=bm.Adam(steps=2, compile=False))
    post = bm.fit(model, whole, theta=theta, phi=bm.Laplace(draws=5), progress=False)
    for use in (post.adapt, post.predict, post.log_score):
        with pytest.raises(bm.StructureError, match="batch normalisation"):
            use(ragged)
    with pytest.raises(bm.StructureError, match="batch normalisation"):
        post.predict(ragged.without_y())


def test_a_padded_query_is_looked_at_too() -> None:
    support = bm.Tasks.from_list([row[:1] * 2 for row in Y], {"x": [row[:1] * 2 for row in X]})
    query = bm.Tasks.from_list(Y, {"x": X})
    model = of(lambda t: t.x["x"] - t.x["x"].mean(1, keepdim=True))
    known = {"theta": bm.Point(), "phi": bm.Laplace(), "progress": False}
    for tasks, given in ((support, {"query": query}), (support.with_query(query), {})):
        with pytest.raises(bm.StructureError, match="padded"):
            bm.fit(model, tasks, **known, **given)


def test_tasks_that_are_not_ragged_are_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def model(tasks: bm.Tasks) -> None:
        calls.append(tasks)
        of(plain)(tasks)

    check_padding(model, ONE_SIZE)
    assert not calls
    check_padding(model, RAGGED)
    assert len(calls) == 3


def test_outcomes_that_the_model_does_not_know_are_still_told_in_words() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Categorical(logits=phi), obs=tasks.y)

    known, other = (bm.Tasks.from_list([[0.0, 1.0], [top]], names=["a", "b"]) for top in (1.0, 7.0))
    post = bm.fit(model, known, theta=bm.Fixed({}), phi=bm.Laplace(draws=5), progress=False)
    with pytest.raises(bm.StructureError, match="from 0 to 7, but site 'y'"):
        post.log_score(other)
