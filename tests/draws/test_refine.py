"""Refine: from a network that says nothing to the posterior, by each of its ways."""

from __future__ import annotations

import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import bayesmeta as bm
from bayesmeta.models import normal_means

TAU, SIGMA = 2.0, 1.0
NOTHING = bm.Refine(steps=0, candidates=1, rerun=None)
# Whatever its k, a task is run again.
AGAIN = bm.Refine(steps=0, candidates=1, above=-10.0)


def known(tasks: bm.Tasks) -> None:
    """Normal means with the prior known: there is no theta."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.0, TAU))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, SIGMA), obs=tasks.y)


def draw_tasks(num_tasks: int, seed: int) -> bm.Tasks:
    generator = torch.Generator().manual_seed(seed)
    phi = TAU * torch.randn(num_tasks, 1, generator=generator, dtype=torch.float64)
    y = phi + SIGMA * torch.randn(num_tasks, 6, generator=generator, dtype=torch.float64)
    return bm.Tasks.from_arrays(y)


NEW = draw_tasks(6, seed=1)


@pytest.fixture(scope="module")
def point() -> bm.Posterior:
    """A network that was hardly trained: its q is near the prior."""
    adam = bm.Adam(lr=1e-5, steps=1, compile=False)
    theta, phi = bm.Point(adam=adam), bm.Amortised(draws=2000)
    return bm.fit(known, draw_tasks(20, seed=0), theta=theta, phi=phi, progress=False)


def errors(post: bm.Posterior) -> tuple[Tensor, Tensor]:
    """Of means, in exact sds, and of sds, relative; the largest of all tasks."""
    precision = TAU**-2 + NEW.sizes * SIGMA**-2
    mean = NEW.y.sum(1) * SIGMA**-2 / precision
    draws = post.phi["phi"].flatten(0, 1)
    error = (draws.mean(0) - mean) * precision.sqrt()
    return error.abs().max(), (draws.std(0) * precision.sqrt() - 1).abs().max()


WAYS = {
    "variational": bm.Refine(steps=400, candidates=1, rerun=None),
    "picked": bm.Refine(steps=0, candidates=300, rerun=None),
    "run again": AGAIN,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_each_way_leads_to_the_posterior(point: bm.Posterior, way: bm.Refine) -> None:
    mean, sd = errors(point.adapt(NEW, refine=way))
    assert mean < 0.12 and sd < 0.1
    # Negative control: without it the network is far off.
    mean, sd = errors(point.adapt(NEW, refine=NOTHING))
    assert mean > 0.5 and sd > 0.3


def test_at_many_theta_too() -> None:
    """The correction is one for all theta, and the network hardly trained."""
    new = normal_means.tasks(num_tasks=6, num_data=6, seed=0)
    theta = bm.Gaussian(adam=bm.Adam(steps=300, lr=0.03, compile=False), draws=2000)
    phi = bm.Amortised(bm.DeepSet(4, width=4), width=4)
    tasks = normal_means.tasks(num_tasks=20)
    post = bm.fit(normal_means.model, tasks, theta=theta, phi=phi, progress=False)
    exact = post.adapt(new, phi=bm.Exact()).phi["phi"][0]
    found = post.adapt(new, refine=bm.Refine(steps=400, candidates=4, rerun=None)).phi["phi"][0]
    assert ((found.mean(0) - exact.mean(0)) / exact.std(0)).abs().max() < 0.15
    assert (found.std(0) / exact.std(0) - 1).abs().max() < 0.12


def test_the_notes_tell_what_was_not_enough_and_what_was_run_again(point: bm.Posterior) -> None:
    good = point.adapt(NEW, refine=WAYS["variational"])
    assert max(good.diagnose().pareto_k.values()) < 0.7
    (note,) = good.notes
    assert note == "refined: Pareto k is above 0.7 in 0 of 6 tasks"
    again = point.adapt(NEW, refine=AGAIN)
    assert "6 run again by phi=bm.HMC(" in again.notes[0]
    assert "'0' (k " in again.notes[0] and again.phi_stats["rerun"].all()
    assert not good.phi_stats["rerun"].any()
    assert good.phi_stats["pareto_k"].shape == good.phi["phi"].shape
    assert again.diagnose().ok


def hills(tasks: bm.Tasks) -> None:
    """Posteriors of two modes, of unequal mass."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(0.5, 1.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi.abs(), 0.3), obs=tasks.y)


def some_hills(num_tasks: int, seed: int) -> bm.Tasks:
    generator = torch.Generator().manual_seed(seed)
    phi = 0.5 + 1.5 * torch.randn(num_tasks, 1, generator=generator)
    return bm.Tasks.from_arrays(phi.abs() + 0.3 * torch.randn(num_tasks, 4, generator=generator))


def share_below_zero(tasks: bm.Tasks) -> Tensor:
    """By quadrature, (tasks,)."""
    grid = torch.linspace(-8, 8, 20_001)[:, None]
    fit = [dist.Normal(grid.abs(), 0.3).log_prob(y).sum(1) for y in tasks.y]
    log_p = torch.stack(fit, 1) + dist.Normal(0.5, 1.5).log_prob(grid)
    return (log_p.softmax(0) * (grid < 0)).sum(0)


def test_chains_that_begin_at_refined_draws_need_fewer_transitions() -> None:
    """At the mode they know one of two, and never come to the other."""
    adam = bm.Adam(lr=3e-3, steps=300, patience=0, compile=False)
    phi = bm.Amortised(draws=1000, guide=bm.NormalMixture(2))
    theta = bm.Point(batch_size=50, adam=adam)
    post = bm.fit(hills, some_hills(200, seed=0), theta=theta, phi=phi, progress=False)
    new = some_hills(12, seed=1)
    right = share_below_zero(new)

    def off(found: bm.Posterior) -> Tensor:
        return ((found.phi["phi"][0] < 0).double().mean(0) - right).abs()

    few = bm.HMC(transitions=4)
    refined = post.adapt(new, refine=bm.Refine(steps=0, above=-10.0, rerun=few))
    assert off(refined).max() < 0.06 and off(refined).mean() < 0.025
    assert not any("have not come to the same" in m for m in refined.diagnose().messages)
    # The control: from the mode, with as many and with twenty times as many.
    for transitions in (4, 80):
        old = post.adapt(new, phi=bm.HMC(transitions=transitions))
        assert off(old).mean() > 0.1


def test_what_runs_no_chains_starts_as_ever(point: bm.Posterior) -> None:
    laplace = bm.Refine(steps=0, candidates=1, above=-10.0, rerun=bm.Laplace(draws=2000))
    mean, sd = errors(point.adapt(NEW, refine=laplace))
    assert mean < 0.12 and sd < 0.1


def test_which_way_was_taken_and_why_as_a_table(point: bm.Posterior) -> None:
    k = point.adapt(NEW, refine=NOTHING).phi_stats["pareto_k"][0, 0]
    above = float(k.sort().values[3:5].mean())
    found = point.adapt(NEW, refine=bm.Refine(steps=0, candidates=1, above=above))
    table = pd.DataFrame(
        {name: found.phi_stats[name][0, 0] for name in ("pareto_k", "rerun")}, NEW.names
    )
    assert (table["rerun"] == (table["pareto_k"] > above)).all()
    assert table["rerun"].sum() == 2 and "; 2 run again by" in found.notes[0]
    assert all(f"'{name}' (k" in found.notes[0] for name in table.index[table["rerun"]])


def test_what_cannot_be_refined_is_refused(point: bm.Posterior) -> None:
    with pytest.raises(TypeError, match="give bm"):
        point.adapt(NEW, refine=bm.Refine)
    with pytest.raises(TypeError, match="has none"):
        point.adapt(NEW, phi=bm.Exact(), refine=bm.Refine())
    with pytest.raises(ValueError, match="at least 1"):
        bm.Refine(candidates=0)


def test_the_gap_report(point: bm.Posterior) -> None:
    table = bm.amortisation_gap(point, NEW, refine=WAYS["variational"])
    assert set(table.index.get_level_values("task")) == set(NEW.names)
    mean = table.groupby("way").mean()
    elbo = mean["elbo"]
    assert elbo["network"] < elbo["refined"] - 0.1
    # This family holds the posterior: nothing is lost but Monte Carlo error.
    assert abs(elbo["refined"] - elbo["exact"]) < 0.01
    assert mean["mean_error"]["refined"] < 0.1 < mean["mean_error"]["network"]
    assert abs(mean["sd_ratio"]["refined"] - 1) < 0.05
    assert (mean.loc["exact", ["mean_error", "sd_ratio"]] == torch.tensor([0.0, 1.0]).numpy()).all()
