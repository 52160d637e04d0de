"""Saved and loaded, a posterior is what it was, but for the data, which are not in the file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

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
    assert set(groups(found.draws)) <= {"posterior", "sample_stats"}
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
