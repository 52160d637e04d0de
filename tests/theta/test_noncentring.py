"""Which sites are noncentred is chosen alike for NUTS and Gaussian, on part of the tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.model.density import Density
from bayesmeta.model.reading import read
from bayesmeta.models import eight_schools
from bayesmeta.theta import pilot
from bayesmeta.theta.log_posterior import LogPosterior
from bayesmeta.theta.noncentring import noncentre

# The standard deviation of tau by quadrature.
TAU_SD = 3.219958415


@pytest.mark.slow
def test_gaussian_noncentres_eight_schools_and_is_less_too_sure_for_it() -> None:
    schools = eight_schools.tasks()
    shares = []
    for noncentred in (None, ()):
        post = bm.fit(
            eight_schools.model,
            schools,
            theta=bm.Gaussian(noncentred=noncentred, adam=bm.Adam(compile=False)),
            progress=False,
        )
        shares.append(float(post.theta["tau"].std()) / TAU_SD)
        assert ("noncentred: effect" in " ".join(post.notes)) == (noncentred is None)
    assert shares[0] > 0.65 and shares[1] < 0.45


def test_the_pilot_sees_at_most_256_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(tasks: bm.Tasks) -> None:
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, tau))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    tasks = bm.Tasks.from_arrays(torch.randn(1000, 1, dtype=torch.float64))
    density, seen = Density(read(model, tasks)), []

    class Counting(LogPosterior):
        def __init__(self, density, phi, tasks, **given):
            seen.append(tasks.num_tasks)
            super().__init__(density, phi, tasks, **given)

    monkeypatch.setattr(pilot, "LogPosterior", Counting)
    rough = pilot.find_pilot(density, tasks, bm.Joint(), 0)
    assert seen == [256] and rough is not None
    found, notes, same = noncentre(None, density, tasks, bm.Joint(), 0, rough)
    assert found.noncentred == ("phi",) and "noncentred: phi" in notes[0]
    assert same is rough


RANDOM = np.random.default_rng(2)
PERSONS, ITEMS = 30, 12
KEPT = [np.flatnonzero(RANDOM.random(ITEMS) < 0.4) for _ in range(PERSONS)]
ANSWERS = [(RANDOM.random(len(kept)) < 0.5).astype(float) for kept in KEPT]
NAMES = [f"person {i}" for i in range(PERSONS)]
CROSSED = bm.Tasks.from_list(ANSWERS, x={"item": KEPT}, names=NAMES)
SHORT: dict[str, Any] = {"chains": 2, "tune": 300, "draws": 300, "compile": False}


def crossed(tasks: bm.Tasks) -> None:
    """Persons are tasks; items are of theta, a second group with a scale of its own."""
    of_persons = pyro.sample("of_persons", dist.HalfNormal(1.0))
    of_items = pyro.sample("of_items", dist.HalfNormal(1.0))
    with pyro.plate("items", ITEMS):
        item = pyro.sample("item", dist.Normal(0.0, of_items))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        person = pyro.sample("person", dist.Normal(0.0, of_persons))
        with pyro.plate("data", tasks.num_data, dim=-1):
            logits = person - item[tasks.x["item"].long()]
            pyro.sample("y", dist.Bernoulli(logits=logits), obs=tasks.y)


@pytest.mark.parametrize("phi", [pytest.param(bm.Joint(), marks=pytest.mark.slow), bm.Laplace()])
def test_a_second_group_is_noncentred_as_phi_is(phi: bm.Phi, tmp_path) -> None:
    short = {**SHORT, "tune": 30, "draws": 20} if phi == bm.Laplace() else SHORT
    post = bm.fit(crossed, CROSSED, theta=bm.NUTS(**short), phi=phi, progress=False)
    assert "item" in post.density.noncentred and "item" in " ".join(post.notes)
    assert ("person" in post.density.noncentred) == (phi == bm.Joint())
    assert post.theta["item"].shape[2:] == (ITEMS,)
    # What the posterior says does not depend on the coordinates that it was sampled in.
    logits = post.phi["person"][..., None] - post.theta["item"][:, :, CROSSED.x["item"].long()]
    mean = torch.sigmoid(logits).mean((0, 1))
    assert torch.allclose(post.predict().mean[CROSSED.mask], mean[CROSSED.mask], atol=1e-6)
    assert post.to_arviz()["posterior"]["item"].dims == ("chain", "draw", "items")
    post.save(tmp_path / "run")
    again = bm.load(tmp_path / "run", crossed)
    assert torch.allclose(again.theta["item"], post.theta["item"])
    assert torch.allclose(again.predict(CROSSED).mean, post.predict().mean, equal_nan=True)
    same = {name: draws[0, 5] for name, draws in post.theta.items()}
    at = post.density.theta_at(same, post.tasks)
    assert torch.allclose(at, post.fit.theta[0, 5])


@pytest.mark.slow
def test_a_second_group_mixes_better_for_it() -> None:
    chosen, centred = (
        bm.fit(crossed, CROSSED, theta=bm.NUTS(**SHORT, noncentred=names), progress=False)
        for names in (None, ())
    )
    few = [post.summary().loc["of_items", "ess_bulk"] for post in (chosen, centred)]
    assert float(few[0]) > 2 * float(few[1])
    assert "of_items" in str(centred.diagnose())


def test_a_group_of_which_the_data_say_much_stays_centred() -> None:
    y = torch.randn(40, ITEMS, dtype=torch.float64) + 5 * torch.arange(float(ITEMS))
    tasks = bm.Tasks.from_arrays(y, x={"item": torch.arange(ITEMS).expand(40, -1).clone()})

    def model(tasks: bm.Tasks) -> None:
        of_items = pyro.sample("of_items", dist.HalfNormal(30.0))
        with pyro.plate("items", ITEMS):
            item = pyro.sample("item", dist.Normal(0.0, of_items))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi + item[tasks.x["item"]], 1.0), obs=tasks.y)

    density = Density(read(model, tasks))
    found, notes, _ = noncentre(None, density, tasks, bm.Joint(), 0, None)
    assert found.noncentred == () and "item 0%" in notes[0]
