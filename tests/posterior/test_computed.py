"""Deterministic sites are kept, at their level and in their shape, wherever draws are."""

from __future__ import annotations

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.reparam import LocScaleReparam

import bayesmeta as bm
from bayesmeta.posterior.arviz import groups

Y = [[1.0, 2.5, 0.5], [-1.0, -0.5], [3.0, 2.0, 4.0]]
TASKS = bm.Tasks.from_list(Y, names=list("abc")).to(dtype=torch.float64)


def model(tasks: bm.Tasks) -> None:
    mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
    pyro.deterministic("both", torch.stack([mu, mu**2]))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, 1.0))
        pyro.deterministic("off", phi - mu)
        pyro.deterministic("powers", torch.stack([phi, phi**2, phi**3], -1))
        pyro.deterministic("same", 2 * mu)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.deterministic("mean", phi + 0 * tasks.y if tasks.y is not None else phi)
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


@pytest.mark.parametrize("theta", [bm.Point(), bm.NUTS(chains=2, tune=30, draws=20, compile=False)])
def test_values_are_those_of_theta_and_phi(theta: bm.Theta) -> None:
    phi = bm.Exact(draws=30) if theta.is_point else bm.Joint()
    post = bm.fit(model, TASKS, theta=theta, phi=phi, progress=False)
    mu, of_task = post.theta["mu"], post.phi["phi"]
    assert set(post.theta) == {"mu", "both", "same"}
    assert set(post.phi) == {"phi", "off", "powers", "mean"}
    assert torch.allclose(post.theta["both"], torch.stack([mu, mu**2], -1))
    assert torch.allclose(post.theta["same"], 2 * mu)
    assert torch.allclose(post.phi["off"], of_task - mu[..., None])
    powers = torch.stack([of_task, of_task**2, of_task**3], -1)
    assert torch.allclose(post.phi["powers"], powers)
    new = post.adapt(bm.Tasks.from_list([[5.0, 4.0]]).to(dtype=torch.float64))
    assert torch.allclose(new.phi["off"], new.phi["phi"] - new.theta["mu"][..., None])


def test_they_are_in_arviz_summary_and_prior() -> None:
    post = bm.fit(model, TASKS, theta=bm.Point(), phi=bm.Exact(draws=30), progress=False)
    for group in ("posterior", "prior"):
        found = groups(post.draws)[group]
        assert found["powers"].dims == ("chain", "draw", "tasks", "powers_dim_0")
        assert np.allclose(found["off"], found["phi"] - found["mu"])
    table = post.summary()
    assert {"both[0]", "off[b]", "powers[c, 2]"} <= set(table.index)
    prior = bm.prior(model, TASKS, draws=5)
    assert torch.allclose(prior.theta["both"][..., 1], prior.theta["mu"] ** 2)
    known = bm.Fixed({name: draws[0, 0] for name, draws in post.theta.items()})
    again = bm.fit(model, TASKS, theta=known, phi=bm.Exact(draws=30), progress=False)
    assert torch.equal(again.theta["mu"][0, 0], post.theta["mu"][0, 0])


def test_what_reparameterisation_leaves_is_kept() -> None:
    reparam = pyro.poutine.reparam(model, config={"phi": LocScaleReparam(0.0)})
    nuts = bm.NUTS(chains=1, tune=30, draws=20, compile=False)
    post = bm.fit(reparam, TASKS, theta=nuts, progress=False)
    assert torch.allclose(post.phi["phi"], post.theta["mu"][..., None] + post.phi["phi_decentered"])


def test_a_loaded_posterior_has_none(tmp_path) -> None:
    post = bm.fit(model, TASKS, theta=bm.Point(), phi=bm.Exact(draws=30), progress=False)
    post.save(tmp_path / "saved")
    assert set(bm.load(tmp_path / "saved", model).phi) == {"phi"}


def test_a_model_that_does_not_run_without_y_is_refused() -> None:
    def lagged(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            before = torch.nn.functional.pad(tasks.y[:, :-1], (1, 0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi * before, 1.0), obs=tasks.y)

    with pytest.raises(bm.StructureError, match=r"not where it is None.*lag.*is a column"):
        bm.structure(lagged, TASKS)


def test_what_is_of_all_tasks_together_is_theirs_and_not_of_theta() -> None:
    def spread(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 3.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            off = pyro.deterministic("off", phi - mu)
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)
        pyro.deterministic("widest", off.max())

    post = bm.fit(spread, TASKS, theta=bm.Point(), phi=bm.Exact(draws=30), progress=False)
    assert set(post.theta) == {"mu"} and set(post.phi) == {"phi", "off", "widest"}
    adapted = post.adapt(bm.Tasks.from_list([[5.0, 4.0]]).to(dtype=torch.float64))
    for one in (post, adapted):
        assert torch.allclose(one.phi["widest"], one.phi["off"].amax(-1))
    assert groups(post.draws)["posterior"]["widest"].dims == ("chain", "draw")


def test_those_of_datapoints_stand_at_rows() -> None:
    def lines(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                line = pyro.deterministic("line", phi * tasks.x["x"])
                pyro.deterministic("pair", torch.stack([line, -line], -1))
                pyro.sample("y", dist.Normal(line, 1.0), obs=tasks.y)

    x = [[1.0, 2.0, 3.0], [4.0, 5.0], [6.0, 7.0, 8.0]]
    tasks = bm.Tasks.from_list(Y, x={"x": x}).to(dtype=torch.float64)
    post = bm.fit(lines, tasks, theta=bm.Fixed({}), phi=bm.Exact(draws=30), progress=False)
    want = post.phi["phi"][..., None] * tasks.x["x"]
    assert torch.allclose(post.phi["line"][..., tasks.mask], want[..., tasks.mask])
    assert post.phi["line"][0, 0, 1, 2].isnan() and post.phi["pair"].shape == (1, 30, 3, 3, 2)
    found = groups(post.draws)["posterior"]
    assert found["pair"].dims == ("chain", "draw", "observation", "pair_dim_0")
    owners = groups(post.draws)["observed_data"]["observation_task"]
    assert list(owners.values) == [*"000", *"11", *"222"]
    assert "pair[7, 1]" in post.summary().index
    new = post.adapt(bm.Tasks.from_list([[5.0]], x={"x": [[2.0]]}).to(dtype=torch.float64))
    assert torch.allclose(new.phi["line"][..., 0], 2 * new.phi["phi"])


def test_many_tasks_are_read_from_some() -> None:
    many = bm.Tasks.from_arrays(torch.zeros(2100, 1))
    nodes = bm.structure(model, many).nodes
    assert nodes["off"].shape == (2100, 1) and nodes["powers"].shape == (2100, 1, 3)
    assert nodes["off"].is_by_task and not nodes["same"].is_by_task
