"""Theta that learned from further tasks is that of a fit to all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.draws import update as module
from bayesmeta.models import radon

PRIOR, TAU, SIGMA = 40.0, 10.0, 20.0
MIDDLE = 1000.0


def bags(tasks: bm.Tasks) -> None:
    """Weights of bags from several shops, in grams."""
    mu = pyro.sample("mu", dist.Normal(MIDDLE, PRIOR))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, TAU))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, SIGMA), obs=tasks.y)


def shops(count: int, mean: float, seed: int, names: bool = True) -> bm.Tasks:
    generator = torch.Generator().manual_seed(seed)
    phi = mean + TAU * torch.randn(count, 1, generator=generator).double()
    y = phi + SIGMA * torch.randn(count, 5, generator=generator).double()
    return bm.Tasks.from_arrays(
        y, names=[f"shop {seed}.{i}" for i in range(count)] if names else None
    )


def exact(*all: bm.Tasks) -> tuple[float, float]:
    """Mean and sd of p(mu | D): means of tasks are normal around mu."""
    means = torch.cat([t.y.mean(1) for t in all])
    precision = len(means) / (TAU**2 + SIGMA**2 / 5)
    whole = precision + 1 / PRIOR**2
    return float((precision * means.mean() + MIDDLE / PRIOR**2) / whole), whole**-0.5


def assert_right(post: bm.Posterior, *all: bm.Tasks, off: float = 0.12) -> None:
    mean, sd = exact(*all)
    mu = post.theta["mu"].double()
    assert abs(float(mu.mean()) - mean) < off * sd
    assert abs(float(mu.std()) / sd - 1) < off


OLD, NEW, FAR = shops(6, 1000.0, 0), shops(3, 1010.0, 1), shops(40, 1060.0, 2)
EXACT, QUICK = bm.Exact(), bm.Importance(draws=4000)


@pytest.fixture(scope="module")
def fitted() -> bm.Posterior:
    return bm.fit(bags, OLD, theta=QUICK, phi=EXACT, progress=False)


def test_it_is_the_fit_to_all_tasks(fitted: bm.Posterior) -> None:
    post = fitted.update(NEW, progress=False)
    assert_right(post, OLD, NEW)
    with pytest.raises(AssertionError):
        assert_right(fitted, OLD, NEW)
    whole = bm.fit(bags, post.tasks, theta=QUICK, phi=EXACT, progress=False)
    assert post.tasks.names == (*OLD.names, *NEW.names)
    phi, same = (p.phi["phi"].double().flatten(0, 1) for p in (post, whole))
    assert ((phi.mean(0) - same.mean(0)).abs() < 0.12 * same.std(0)).all()
    assert "weighed" in post.notes[0] and post.diagnose().ok
    assert "update" in post.seconds


def test_one_by_one_is_all_at_once(fitted: bm.Posterior) -> None:
    post = fitted
    for i in range(len(NEW)):
        post = post.update(NEW.select(torch.tensor([i])), progress=False)
    assert_right(post, OLD, NEW, off=0.15)
    assert bm.leave_one_task_out(post, progress=False).table["left_out"].all()


def test_it_is_adapted_from_and_saved(fitted: bm.Posterior, tmp_path: Path) -> None:
    post = fitted.update(NEW, progress=False)
    post.save(tmp_path)
    loaded = bm.load(tmp_path, bags)
    assert torch.equal(loaded.theta["mu"], post.theta["mu"])
    assert post.adapt(FAR).phi["phi"].shape[2] == len(FAR)


def test_where_few_draws_count_theta_is_sampled_anew(
    fitted: bm.Posterior, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHAINS", replace(module._CHAINS, compile=False))
    post = fitted.update(FAR, progress=False)
    assert_right(post, OLD, FAR)
    assert "sampled anew" in post.notes[0] and post.diagnose().ok
    assert post.diagnose().max_rhat is not None


def test_after_loading_few_draws_are_told(fitted: bm.Posterior, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    loaded = bm.load(tmp_path, bags)
    near = loaded.update(NEW, progress=False)
    assert_right(near, OLD, NEW)
    assert near.tasks.names == NEW.names and near.diagnose().ok
    far = loaded.update(FAR, progress=False).diagnose()
    assert not far.ok and "fit to all tasks" in far.messages[0]


def test_the_prior_learns_too() -> None:
    assert_right(bm.prior(bags, OLD, draws=20_000).update(OLD, progress=False), OLD)


def test_tasks_by_number_are_others_than_those_before() -> None:
    old, new = shops(6, 1000.0, 0, names=False), shops(3, 1010.0, 1, names=False)
    post = bm.fit(bags, old, theta=QUICK, phi=EXACT, progress=False).update(new, progress=False)
    assert_right(post, old, new)
    assert len(set(post.tasks.names)) == 9


def test_after_joint_chains_phi_is_integrated_out() -> None:
    chains = bm.NUTS(chains=2, tune=300, draws=600, compile=False)
    post = bm.fit(bags, OLD, theta=chains, progress=False).update(NEW, progress=False)
    assert_right(post, OLD, NEW, off=0.25)


def test_counts_go_by_laplace_with_weights() -> None:
    """Against a fit to all: there is no closed form."""

    def calls(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(1.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            rate = pyro.sample("rate", dist.Normal(mu, 0.5))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Poisson(rate.exp()), obs=tasks.y)

    y = torch.poisson(torch.full((9, 4), 3.0), generator=torch.Generator().manual_seed(0)).double()
    tasks = bm.Tasks.from_arrays(y, names=list("abcdefghi"))
    old, new = tasks.select(torch.arange(6)), tasks.select(torch.arange(6, 9))
    laplace = bm.Laplace(particles=16)
    one, all = (
        bm.fit(calls, t, theta=bm.Importance(), phi=laplace, progress=False) for t in (old, tasks)
    )
    post = one.update(new, progress=False)
    found, right = (p.theta["mu"].double() for p in (post, all))
    assert abs(float((found.mean() - right.mean()) / right.std())) < 0.1
    assert math.isclose(float(found.std() / right.std()), 1.0, abs_tol=0.1)


@pytest.mark.slow
def test_radon_of_sixty_counties_and_then_the_rest() -> None:
    tasks = radon.tasks()
    some, rest = (tasks.select(k) for k in torch.arange(len(tasks)).split([60, 25]))
    post = bm.fit(radon.model, some, progress=False).update(rest, progress=False)
    whole = bm.fit(radon.model, tasks, progress=False)
    for name, draws in whole.theta.items():
        off = (post.theta[name].mean() - draws.mean()) / draws.std()
        assert abs(float(off)) < 0.1, name


def refused(post: bm.Posterior, tasks, said: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=said):
        post.update(tasks, progress=False)


def test_what_cannot_be_learned_from_is_refused(fitted: bm.Posterior) -> None:
    refused(fitted, OLD, "shop 0.0.*counted twice", bm.TasksError)
    refused(fitted, NEW.without_data(), "without outcomes", bm.TasksError)
    refused(fitted, NEW.with_query(NEW), "with a query", bm.TasksError)
    refused(fitted, [1.0, 2.0], "bm.Tasks is expected", TypeError)


def test_a_point_is_refused() -> None:
    point = bm.fit(bags, OLD, theta=bm.Point(), phi=EXACT, progress=False)
    refused(point, NEW, "theta is a point", bm.StructureError)


def counts(tasks: bm.Tasks) -> None:
    """Calls an hour."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        rate = pyro.sample("rate", dist.Normal(mu, 0.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(tasks.x["hours"] * rate.exp()), obs=tasks.y)


def hours(values: list[float], y: list[float], name: str) -> bm.Tasks:
    return bm.Tasks.from_list([y], {"hours": [values]}, [name]).to(dtype=torch.float64)


@pytest.fixture(scope="module")
def of_counts() -> bm.Posterior:
    y = [[3.0, 5.0, 2.0], [1.0, 0.0, 2.0], [4.0, 6.0, 5.0]]
    whole = bm.Tasks.from_list(y, {"hours": [[2, 3, 1]] * 3}, list("abc")).to(dtype=torch.float64)
    return bm.fit(counts, whole, theta=QUICK, phi=bm.Laplace(particles=16), progress=False)


def test_fractions_after_whole_numbers_stay_fractions(of_counts: bm.Posterior) -> None:
    post = of_counts.update(hours([1.9, 0.5], [4.0, 1.0], "d"), progress=False)
    assert post.tasks.x["hours"][-1, :2].tolist() == pytest.approx([1.9, 0.5])
    assert post.tasks.x["hours"][0].tolist() == [2.0, 3.0, 1.0]


def test_a_number_a_task_after_one_a_datapoint_is_that_of_each(of_counts: bm.Posterior) -> None:
    new = bm.Tasks.from_list([[2.0, 3.0]], {"hours": [2.0]}, ["d"]).to(dtype=torch.float64)
    post = of_counts.update(new, progress=False)
    assert post.tasks.x["hours"][-1, :2].tolist() == [2.0, 2.0]


def test_tasks_that_theta_knows_are_refused_by_names_and_by_numbers(
    fitted: bm.Posterior, tmp_path: Path
) -> None:
    fitted.save(tmp_path)
    refused(bm.load(tmp_path, bags), OLD, "learned from these tasks before", bm.TasksError)
    old = shops(6, 1000.0, 0, names=False)
    post = bm.fit(bags, old, theta=QUICK, phi=EXACT, progress=False)
    refused(post, post.tasks, "learned from these tasks before", bm.TasksError)
    refused(post, old[:2], "learned from these tasks before", bm.TasksError)
    again = post.update(shops(2, 1000.0, 5, names=False), progress=False)
    refused(again, old, "learned from these tasks before", bm.TasksError)


def masked(tasks: bm.Tasks) -> None:
    """Some outcomes are no observations."""
    mu = pyro.sample("mu", dist.Normal(MIDDLE, PRIOR))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, TAU))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, SIGMA).mask(tasks.x["seen"] > 0), obs=tasks.y)


def test_tasks_with_masked_outcomes_are_left_out_after_it() -> None:
    def some_seen(tasks: bm.Tasks) -> bm.Tasks:
        seen = torch.ones_like(tasks.y)
        seen[:, -1] = 0
        return bm.Tasks.from_arrays(tasks.y, {"seen": seen}, names=tasks.names)

    post = bm.fit(masked, some_seen(OLD), theta=QUICK, phi=EXACT, progress=False)
    after = post.update(some_seen(NEW), progress=False)
    table = bm.leave_one_task_out(after, progress=False).table
    assert table["left_out"].all()
    whole = bm.fit(masked, some_seen(bm.Tasks.from_arrays(
        torch.cat([OLD.y, NEW.y]), names=[*OLD.names, *NEW.names])),
        theta=QUICK, phi=EXACT, progress=False)  # fmt: skip
    same = bm.leave_one_task_out(whole, progress=False).table
    assert (table["log_score"] - same["log_score"]).abs().max() < 0.05


def test_what_was_said_of_the_draws_is_said_again(fitted: bm.Posterior) -> None:
    said = replace(fitted.fit, doubts=("the draws are off",))
    doubted = bm.Posterior(replace(fitted.draws, fit=said))
    found = doubted.update(NEW, progress=False).diagnose()
    assert not found.ok and "The draws are off" in str(found)
    assert fitted.update(NEW, progress=False).diagnose().ok


def test_what_a_loaded_posterior_learned_before_is_not_forgotten(
    fitted: bm.Posterior, tmp_path: Path
) -> None:
    """By the new tasks alone theta would be sampled from far away, with a spread too wide."""
    fitted.save(tmp_path)
    near = bm.load(tmp_path, bags).update(NEW, progress=False)
    refused(near, OLD, "learned from these tasks before", bm.TasksError)
    far = near.update(FAR, progress=False)
    assert not far.diagnose().ok and "fit to all tasks" in str(far.diagnose())
    assert "sampled anew" not in far.notes[0]
    with pytest.raises(bm.TasksError, match="was loaded"):
        bm.leave_one_task_out(near, progress=False)
    again = near.update(shops(3, 1000.0, 7), progress=False)
    assert_right(again, OLD, NEW, shops(3, 1000.0, 7))
