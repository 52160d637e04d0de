"""Tasks that read each other are refused, whichever they are; datapoints that do are named."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

import bayesmeta as bm
from bayesmeta.model import coupling
from bayesmeta.model.coupling import halves

TASKS = bm.Tasks.from_arrays(
    torch.randn(6, 5, generator=torch.Generator().manual_seed(0)),
    {"x": torch.randn(6, 5, generator=torch.Generator().manual_seed(1))},
)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100, 256])
def test_of_each_two_either_is_chosen_without_the_other(count: int) -> None:
    chosen = halves(count)
    assert len(chosen) <= 11
    for a in range(count):
        for b in range(a):
            assert any(c[a] and not c[b] for c in chosen)
            assert any(c[b] and not c[a] for c in chosen)


def tied_by(reads: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[bm.Tasks], None]:
    """A model whose location is a function of phi (tasks, 1), x and y (tasks, data)."""

    def model(tasks: bm.Tasks) -> None:
        y = torch.zeros(tasks.mask.shape) if tasks.y is None else tasks.y
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                where = reads(phi.expand(y.shape), tasks.x["x"], y)
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

    return model


def reading_a_neighbour(reader: int, read: int, what: int) -> Callable[..., Tensor]:
    """Task `reader` reads phi, x or y of one other task."""

    def reads(*given: Tensor) -> Tensor:
        found = given[0] + given[1]
        weight = torch.zeros(len(found), 1)
        if len(found) == 6:
            weight[reader] = 1.0
        return found + weight * given[what][min(read, len(found) - 1)].mean()

    return reads


@pytest.mark.parametrize("what", [0, 1, 2])
@pytest.mark.parametrize(("reader", "read"), [(1, 0), (3, 2), (2, 3), (0, 5), (5, 0)])
def test_a_task_that_reads_another_is_refused(what: int, reader: int, read: int) -> None:
    model = tied_by(reading_a_neighbour(reader, read, what))
    name = ("phi", r"tasks.x\['x'\]", "tasks.y")[what]
    said = f"'y' of task '{reader}' depends on '{name}' of task '{read}'"
    with pytest.raises(bm.StructureError, match=said):
        bm.structure(model, TASKS)


def test_moving_the_first_task_alone_would_not_find_it(monkeypatch: pytest.MonkeyPatch) -> None:
    first = torch.arange(6) == 0
    monkeypatch.setattr(coupling, "halves", lambda count: [first])
    bm.structure(tied_by(reading_a_neighbour(3, 2, 0)), TASKS)


def lagged(y: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)


ELSEWHERE = {
    "nothing": (lambda phi, x, y: phi + x, (), ()),
    "the outcome before": (lambda phi, x, y: phi + x + lagged(y), ("y",), ()),
    "a column's mean": (lambda phi, x, y: phi + x - x.mean(1, keepdim=True), (), ("x",)),
    "the next of a column": (lambda phi, x, y: phi + x.roll(-1, 1), (), ("x",)),
    "both": (lambda phi, x, y: phi + x.cumsum(1) + lagged(y), ("y",), ("x",)),
}


@pytest.mark.parametrize(("reads", "sites", "columns"), ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_is_read_at_other_datapoints(reads, sites, columns) -> None:
    node = bm.structure(tied_by(reads), TASKS).nodes["y"]
    assert (node.elsewhere, node.inputs_elsewhere) == (sites, columns)


def test_a_latent_of_a_datapoint_and_what_stands_between() -> None:
    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                step = pyro.sample("step", dist.Normal(0.0, 1.0))
                walk = pyro.deterministic("walk", step.cumsum(-1))
                pyro.sample("y", dist.Normal(phi + walk, 1.0), obs=tasks.y)

    found = bm.structure(model, TASKS)
    assert found.nodes["walk"].elsewhere == ("step",)
    assert not found.nodes["y"].elsewhere, "what it reads there stands behind a site"
    assert "step[:]" in str(found)
    graph = bm.graph(model, TASKS)
    assert graph.independent("y[0,0]", "y[0,1]", ["phi[0]", "walk[0,0]"])
    assert not graph.independent("y[0,0]", "y[0,1]", ["phi[0]"])
    assert not graph.independent("walk[0,0]", "step[0,1]")


def test_a_network_for_datapoints_apart_and_one_for_all_together() -> None:
    apart = bm.nets.Net(nn.Sequential(nn.Linear(1, 3), nn.Tanh(), nn.Linear(3, 1)))
    images = torch.randn(3, 4, 1, 5, 5)
    together = bm.nets.Net(
        nn.Sequential(
            nn.Conv2d(1, 2, 3), bm.nets.TransductiveBatchNorm2d(2), nn.Flatten(), nn.Linear(18, 1)
        )
    )
    for net, x in ((apart, torch.randn(3, 4, 1)), (together, images)):

        def model(tasks: bm.Tasks, net: bm.nets.Net = net) -> None:
            with pyro.plate("tasks", tasks.num_tasks, dim=-2):
                prior = dist.Normal(torch.zeros(net.size), 1.0).to_event(1)
                phi = pyro.sample("phi", prior)
                with pyro.plate("data", tasks.num_data, dim=-1):
                    where = net(phi, tasks.x["x"])[..., 0]
                    pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

        tasks = bm.Tasks.from_arrays(torch.randn(3, 4), {"x": x})
        read = bm.structure(model, tasks).nodes["y"].inputs_elsewhere
        assert read == (() if net is apart else ("x",))


def test_who_takes_datapoints_apart_is_told() -> None:
    infer = {"theta": bm.Fixed({}), "phi": bm.Laplace(draws=50), "progress": False}

    def centred(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                there = torch.where(tasks.mask, tasks.x["x"], 0.0)
                where = phi + tasks.x["x"] - there.sum(1, keepdim=True) / 5
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)

    with pytest.warns(UserWarning, match="rows of a task apart, but y: reads x.x at all datapoint"):
        bm.cross_validate(lambda t: bm.fit(centred, t, **infer), TASKS, folds=2, progress=False)
    after_a_lag = tied_by(ELSEWHERE["the outcome before"][0])
    assert any("hold out whole tasks" in n for n in bm.fit(after_a_lag, TASKS, **infer).notes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apart = tied_by(ELSEWHERE["nothing"][0])
        bm.cross_validate(lambda t: bm.fit(apart, t, **infer), TASKS, folds=2, progress=False)


YEARS = bm.Tasks.from_arrays(
    torch.randn(6, 5, generator=torch.Generator().manual_seed(0)),
    {"x": torch.arange(2001.0, 2006.0).expand(6, 5)},
)
OF_ALL = {
    "mean": lambda x: x - x.mean(),
    "first": lambda x: x - x.min(),
    "share of the largest": lambda x: x / x.max(),
    "scaled": lambda x: (x - x.mean()) / x.std(),
    "how many kinds": lambda x: x / len(x.unique()),
    "places": lambda x: torch.searchsorted(x.unique(), x.contiguous()).double(),
}


@pytest.mark.parametrize("statistic", OF_ALL.values(), ids=OF_ALL)
def test_a_statistic_over_a_balanced_panel_is_refused(statistic, monkeypatch) -> None:
    model = tied_by(lambda phi, x, y: phi + statistic(x))
    with pytest.raises(bm.StructureError, match=r"depends on 'tasks.x\['x'\]' of"):
        bm.structure(model, YEARS)
    # When years change places all of them stay as they are.
    monkeypatch.setattr(coupling, "_levelled", lambda *given: iter(()))
    bm.structure(model, YEARS)


def test_comparing_with_the_first_task_is_refused() -> None:
    for count in (3, 5, 8):
        tasks = bm.Tasks.from_arrays(torch.randn(count, 3), {"x": torch.randn(count, 3)})
        model = tied_by(lambda phi, x, y: phi + (phi > phi[0]).to(phi.dtype))
        with pytest.raises(bm.StructureError, match="depends on 'phi' of task"):
            bm.structure(model, tasks)


@pytest.mark.parametrize("seed", range(5))
def test_a_threshold_over_the_rows_of_a_task_is_seen(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(2, (6, 4), generator=generator).float()
    tasks = bm.Tasks.from_arrays(torch.randn(6, 4, generator=generator), {"x": x})
    for reads in (
        lambda phi, x, y: phi + (x.any(1, keepdim=True) | (x > 9)).to(phi.dtype),
        lambda phi, x, y: phi + x.cummax(1).values,
    ):
        assert bm.structure(tied_by(reads), tasks).nodes["y"].inputs_elsewhere == ("x",)
