"""Saved and loaded, a posterior is what it was, but for the data, which are not in the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import bayesmeta as bm
from bayesmeta.models import (
    eight_schools,
    lecture,
    neural_process,
    normal_means,
    radon,
    sinusoid,
    transfer,
)
from bayesmeta.posterior.arviz import groups
from bayesmeta.training import checkpoint

SHORT = bm.Adam(steps=3, compile=False)
FILE = "posterior.safetensors"


@dataclass(frozen=True)
class OwnEncoder(bm.DeepSet):
    """An encoder that a user has brought."""


def fitted(name: str) -> tuple[bm.Posterior, bm.Tasks]:
    """A posterior of each kind, and tasks to adapt to."""
    if name == "noncentred":
        counties = radon.tasks()[:8]
        nuts = bm.NUTS(chains=2, tune=15, draws=5, compile=False, noncentred=("alpha", "beta"))
        return bm.fit(radon.model, counties, theta=nuts, progress=False), counties[:3]
    if name == "closed form":
        schools = eight_schools.tasks()
        theta = bm.Point(adam=SHORT)
        return bm.fit(
            eight_schools.model, schools, theta=theta, phi=bm.Exact(), progress=False
        ), schools[:2]
    if name == "learned rates":
        waves, query = sinusoid.tasks(6, 8).split(4)
        pair = bm.MetaSGD(adam=SHORT)
        return bm.fit(sinusoid.model, waves, query=query, **pair, progress=False), waves
    if name == "fine-tuned":
        clothes = transfer.tasks(2, shots=1)
        net = transfer.perceptron(hidden=4)
        known = bm.Fixed({"theta": net.weights()})
        stages = [bm.Probe(steps=2), bm.Surgical("phi.3", steps=1)]
        around = bm.FineTune(tuple(stages), optimiser=torch.optim.SGD)
        phi = bm.PostHocLaplace(around, draws=3, scale=0.1)
        return bm.fit(
            transfer.target(net), clothes, theta=known, phi=phi, progress=False
        ), transfer.tasks(1, shots=1, seed=1)
    functions = neural_process.tasks(6, shots=5, queries=4)
    phi = bm.Amortised(OwnEncoder(), bm.DiagonalNormal(), bm.Predictive(2), draws=3)
    post = bm.fit(
        neural_process.model, functions, theta=bm.Point(adam=SHORT), phi=phi, progress=False
    )
    return post, neural_process.tasks(2, shots=5, queries=4, seed=1)


@pytest.mark.parametrize(
    "name", ["noncentred", "closed form", "learned rates", "fine-tuned", "network"]
)
def test_what_was_saved_is_loaded(name: str, tmp_path: Path) -> None:
    post, new = fitted(name)
    post.save(tmp_path / "run")
    found = bm.load(tmp_path / "run", post.density.model)
    assert found.strategy == post.strategy and found.is_point == post.is_point
    assert found.notes == post.notes and found.tasks.names == post.tasks.names
    for old, again in ((post, found), (post.adapt(new), found.adapt(new))):
        for draws, loaded in ((old.theta, again.theta), (old.phi, again.phi)):
            assert draws.keys() == loaded.keys()
            for site, values in draws.items():
                torch.testing.assert_close(loaded[site], values, rtol=1e-6, atol=1e-6)
    predicted = (p.adapt(new).predict().mean for p in (post, found))
    torch.testing.assert_close(*predicted, equal_nan=True)
    assert not found.summary().empty


def test_a_posterior_of_more_or_fewer_tasks_than_the_fit_had(tmp_path: Path) -> None:
    tasks = normal_means.tasks(num_tasks=6, num_data=3)
    theta = bm.Point(adam=SHORT)
    post = bm.fit(normal_means.model, tasks, theta=theta, phi=bm.Exact(), progress=False)
    for count in (4, 9):
        new = post.adapt(normal_means.tasks(num_tasks=count, num_data=2, seed=1))
        new.save(tmp_path / str(count))
        loaded = bm.load(tmp_path / str(count), normal_means.model)
        assert torch.equal(loaded.phi["phi"], new.phi["phi"])


def test_a_function_in_a_strategy_cannot_be_saved(tmp_path: Path) -> None:
    tuning = bm.FineTune([], optimiser=lambda parameters, lr: torch.optim.SGD(parameters, lr))
    known = bm.Fixed({"theta": transfer.perceptron().weights()})
    clothes = transfer.tasks(1, shots=1)
    post = bm.fit(transfer.model, clothes, theta=known, phi=tuning, progress=False)
    with pytest.raises(bm.CheckpointError, match=r"holds the function .* cannot be saved"):
        post.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def numbers(path: Path) -> set[float]:
    """Every number in the file, tensors and description."""
    found: set[float] = set()
    for values in load_file(path).values():
        found |= set(values.double().flatten().tolist())
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])

    def walk(part: object) -> None:
        if isinstance(part, dict | list):
            for inner in part.values() if isinstance(part, dict) else part:
                walk(inner)
        elif isinstance(part, int | float):
            found.add(float(part))

    walk(about)
    return found


def test_no_number_of_the_data_is_in_the_file(tmp_path: Path) -> None:
    tasks = lecture.tasks(num_tasks=4, num_data=5, slope=True)
    post = bm.fit(
        lecture.model, tasks, theta=bm.Point(adam=SHORT), phi=bm.Exact(draws=5), progress=False
    )
    post.save(tmp_path)
    stored = numbers(tmp_path / FILE)
    secret = set(tasks.y.flatten().tolist()) | set(tasks.x["x"].flatten().tolist())
    assert not stored & secret
    # The control: what should be there is found by the same search.
    assert float(post.fit.theta.flatten()[0]) in stored


def test_a_loaded_posterior_predicts_its_own_tasks_by_name_alone(tmp_path: Path) -> None:
    schools = eight_schools.tasks()
    post = bm.fit(eight_schools.model, schools, theta=bm.Point(adam=SHORT), progress=False)
    post.save(tmp_path)
    found = bm.load(tmp_path, eight_schools.model)
    assert torch.equal(found.predict(schools[:3]).draws, post.predict(schools[:3]).draws)
    with pytest.raises(bm.TasksError, match="loaded holds no data"):
        found.predict()
    assert set(groups(found.draws)) <= {"posterior", "unconstrained_posterior", "sample_stats"}
    waves = sinusoid.tasks(4, 5)
    bm.fit(sinusoid.model, waves, theta=bm.Point(adam=SHORT), phi=bm.Mode(), progress=False).save(
        tmp_path / "waves"
    )
    with pytest.raises(bm.TasksError, match="made apart and have no names"):
        bm.load(tmp_path / "waves", sinusoid.model).predict(sinusoid.tasks(4, 5))


def test_what_cannot_be_loaded_is_told_why(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="give the folder first"):
        bm.load(eight_schools.model, tmp_path)
    with pytest.raises(FileNotFoundError, match="no posterior was saved in"):
        bm.load(tmp_path / "nothing", eight_schools.model)
    schools = eight_schools.tasks()
    post = bm.fit(eight_schools.model, schools, theta=bm.Point(adam=SHORT), progress=False)
    post.save(tmp_path)
    with pytest.raises(bm.CheckpointError, match="another model: it has a site tau"):
        bm.load(tmp_path, normal_means.model)
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(bm.CheckpointError, match="no whole checkpoint"):
        bm.load(tmp_path, eight_schools.model)


def test_an_older_file_reads_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    post, _ = fitted("closed form")
    post.save(tmp_path)
    with safe_open(tmp_path / FILE, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / FILE)
    assert metadata.pop("format") == "1"
    save_file(tensors, tmp_path / FILE, metadata)
    assert torch.equal(bm.load(tmp_path, eight_schools.model).fit.theta, post.fit.theta)
    save_file(tensors, tmp_path / FILE, {**metadata, "format": "2"})
    with pytest.raises(bm.CheckpointError, match="of format 2, but this version"):
        bm.load(tmp_path, eight_schools.model)


def test_a_class_that_is_not_known_is_not_imported(tmp_path: Path) -> None:
    post, _ = fitted("closed form")
    post.save(tmp_path)
    tensors, about = checkpoint.read(tmp_path, FILE)
    about["strategy"]["class"] = "os.system"
    checkpoint.write(tmp_path, tensors, about, FILE)
    with pytest.raises(bm.CheckpointError, match=r"saved with a os.system, which is not known"):
        bm.load(tmp_path, eight_schools.model)


ITEM = torch.tensor([[0, 2, 1], [1, 1, 3], [2, 0, 0]])


def looks_up(tasks: bm.Tasks) -> None:
    d = pyro.sample("d", dist.Normal(0.0, 1.0).expand([4]).to_event(1))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi + d[tasks.x["item"]], 1.0), obs=tasks.y)


def looks_up_from(first: int) -> Callable[[bm.Tasks], None]:
    def model(tasks: bm.Tasks) -> None:
        looks_up(replace(tasks, x={"item": tasks.x["item"] - first}))

    return model


def counts(tasks: bm.Tasks) -> None:
    """A slope that nothing but a change of its value shows, and only where the count is not 0."""
    d = pyro.sample("d", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            item = tasks.x["item"] + 0 * phi
            mean = phi + torch.vmap(lambda x: d * x)(item)
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def looks_up_one(tasks: bm.Tasks) -> None:
    d = pyro.sample("d", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi + d[0 * tasks.x["item"]], 1.0), obs=tasks.y)


def with_items(item: Tensor, names: str = "abc") -> bm.Tasks:
    return bm.Tasks.from_arrays(torch.randn(len(item), item.shape[1]), {"item": item}, names=names)


def saved(model: Callable[[bm.Tasks], None], tasks: bm.Tasks, folder: Path, d: Any) -> bm.Posterior:
    known = bm.Fixed({"d": torch.as_tensor(d)})
    post = bm.fit(model, tasks, theta=known, phi=bm.Exact(draws=5), progress=False)
    post.save(folder)
    return post


@pytest.mark.parametrize(
    ("model", "item", "d"),
    [
        (looks_up, ITEM, [0.0, 1.0, 2.0, 3.0]),
        (looks_up, ITEM[:, :1], [0.0, 1.0, 2.0, 3.0]),
        (looks_up, 0 * ITEM, [0.0, 1.0, 2.0, 3.0]),
        (looks_up_one, 0 * ITEM, [2.0]),
        (counts, ITEM, 0.5),
    ],
)
def test_integer_columns_are_integers_again(
    model: Callable[[bm.Tasks], None], item: Tensor, d: Any, tmp_path: Path
) -> None:
    post = saved(model, with_items(item), tmp_path, d)
    found = bm.load(tmp_path, model)
    new = with_items(item[:2], "de")
    assert torch.equal(found.adapt(new).phi["phi"], post.adapt(new).phi["phi"])
    assert found.structure.nodes["y"].inputs == post.structure.nodes["y"].inputs
    assert found.tasks.x["item"].dtype == torch.int64


def test_with_integer_columns_another_model_is_still_told(tmp_path: Path) -> None:
    saved(looks_up, with_items(ITEM), tmp_path, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(bm.CheckpointError, match="posterior of another model: its d has shape"):
        bm.load(tmp_path, counts)
    with pytest.raises(bm.CheckpointError, match="posterior of another model"):
        bm.load(tmp_path, looks_up_one)


def test_numbers_that_do_not_begin_at_zero_are_told(tmp_path: Path) -> None:
    saved(looks_up_from(2000), with_items(ITEM + 2000), tmp_path, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(bm.CheckpointError, match=r"number them 0, 1, \.\.\. before the fit"):
        bm.load(tmp_path, looks_up_from(2000))


def with_statistics(mean: float):
    """A model around a network that holds statistics, and the network."""
    layer = torch.nn.BatchNorm1d(3)
    layer.running_mean.fill_(mean)
    module = torch.nn.Sequential(torch.nn.Linear(1, 3), layer, torch.nn.Linear(3, 1))
    with bm.nets.isolated(0):
        net = bm.nets.Net(bm.nets.pretrained(module))

    def model(tasks):
        theta = pyro.param("theta", lambda: torch.zeros(net.size))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
            with pyro.plate("data", tasks.num_data, dim=-1):
                loc = net(phi, tasks.x["x"][..., None]).squeeze(-1)
                pyro.sample("y", dist.Normal(loc, 1.0), obs=tasks.y)

    return model


def test_buffers_of_networks_are_saved_with_the_weights(tmp_path):
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    tasks = bm.Tasks.from_arrays(2 * x, {"x": x})
    post = bm.fit(
        with_statistics(5.0),
        tasks,
        **bm.MAML(2, adam=bm.Adam(steps=3, compile=False)),
        progress=False,
    )
    post.save(tmp_path)
    expected = post.adapt(tasks).predict(tasks).mean
    loaded = bm.load(tmp_path, with_statistics(0.0))
    torch.testing.assert_close(loaded.adapt(tasks).predict(tasks).mean, expected)
    used = with_statistics(0.0)
    bm.fit(used, tasks, **bm.MAML(2, adam=bm.Adam(steps=1, compile=False)), progress=False)
    with pytest.raises(checkpoint.CheckpointError, match=r"another network: its '1.running_mean'"):
        bm.load(tmp_path, used)


class Two(torch.nn.Module):
    """Two layers of one shape, registered in either order, with some activation between."""

    def __init__(self, *, swapped: bool = False, between: type = torch.nn.Tanh) -> None:
        super().__init__()
        names = ["first", "second"]
        for name in names[::-1] if swapped else names:
            self.add_module(name, torch.nn.Linear(3, 3))
        self.between = between()

    def forward(self, x):
        return self.second(self.between(self.first(x)))


@pytest.mark.parametrize("other", [{"swapped": True}, {"between": torch.nn.Sigmoid}])
def test_another_network_of_the_same_size_is_refused(tmp_path, other):
    def model_of(module):
        net = bm.nets.Net(module)

        def model(tasks):
            theta = pyro.param("theta", lambda: 0.1 * torch.ones(net.size))
            with pyro.plate("tasks", tasks.num_tasks, dim=-2):
                phi = pyro.sample("phi", dist.Normal(theta, 1.0).to_event(1))
                with pyro.plate("data", tasks.num_data, dim=-1):
                    loc = net(phi, tasks.x["x"]).sum(-1)
                    pyro.sample("y", dist.Normal(loc, 1.0), obs=tasks.y)

        return model

    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    tasks = bm.Tasks.from_arrays(x.sum(-1), {"x": x})
    pair = bm.MAML(1, adam=bm.Adam(steps=2, compile=False))
    post = bm.fit(model_of(Two()), tasks, **pair, progress=False)
    post.save(tmp_path)
    bm.load(tmp_path, model_of(Two()))
    with pytest.raises(bm.CheckpointError, match=r"network: its output at the same weights"):
        bm.load(tmp_path, model_of(Two(**other)))


def test_what_is_read_of_other_datapoints_and_outcomes_is_loaded_without_data(tmp_path) -> None:
    """Without data it does not show who reads what of others; that makes no other model of it."""

    def model(tasks: bm.Tasks) -> None:
        y = torch.zeros(tasks.mask.shape) if tasks.y is None else tasks.y
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            pyro.deterministic("rank", (phi > phi.mT).sum(1, keepdim=True))
            with pyro.plate("data", tasks.num_data, dim=-1):
                before = torch.cat([torch.zeros_like(y[:, :1]), y[:, :-1]], 1)
                where = phi + tasks.x["x"].cumsum(1) + 0.5 * before
                pyro.sample("y", dist.Normal(where, 1.0), obs=tasks.y)
                pyro.sample("size", dist.Normal(phi, 2.0), obs=None if tasks.y is None else y.abs())

    tasks = bm.Tasks.from_arrays(torch.randn(4, 5), {"x": torch.randn(4, 5)})
    post = bm.fit(model, tasks, theta=bm.Fixed({}), phi=bm.Laplace(draws=20), progress=False)
    assert post.structure.nodes["y"].elsewhere
    post.save(tmp_path / "post")
    again = bm.load(tmp_path / "post", model)
    assert torch.equal(again.phi["phi"], post.phi["phi"])
