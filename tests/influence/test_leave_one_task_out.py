"""Leave-one-task-out against closed forms and exact refits."""

from __future__ import annotations

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch.distributions import MultivariateNormal

import bayesmeta as bm
from bayesmeta.draws.evidence import evidence
from bayesmeta.influence.without_a_task import WithoutATask
from bayesmeta.models import eight_schools, logistic_regression, normal_means, radon

TASKS = normal_means.tasks(num_tasks=8, num_data=4, ragged=False)
SHORT = bm.NUTS(chains=1, tune=50, draws=50, compile=False)
NUTS = bm.NUTS(chains=2, tune=200, draws=500, compile=False)


def pooled(tasks: bm.Tasks) -> None:
    """No phi: all tasks are alike."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2), pyro.plate("data", tasks.num_data, dim=-1):
        pyro.sample("y", dist.Normal(mu, 1.0), obs=tasks.y)


def alone(tasks: bm.Tasks) -> None:
    """No theta: each task by itself."""
    zero = torch.zeros((), dtype=tasks.dtype)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(zero, 5.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)


def closed_form(tasks: bm.Tasks, weight: float = 1.0) -> torch.Tensor:
    """log p(D_i | D_-i) of normal_means: the outcomes of all tasks are jointly normal, (tasks,).

    Those that are learned from may have a weight, by which their noise is less.
    """
    n, j = tasks.y.shape
    task = torch.arange(n).repeat_interleave(j)
    same = (task[:, None] == task).double()
    latent = normal_means.MU_SD**2 + normal_means.TAU**2 * same
    y, zero = tasks.y.flatten(), torch.zeros(n * j, dtype=torch.float64)

    def log_p(which: torch.Tensor, out: int) -> torch.Tensor:
        noise = normal_means.SIGMA**2 * torch.where(task == out, 1.0, 1 / weight).double()
        part = (latent + noise.diag())[which][:, which]
        return MultivariateNormal(zero[which], part).log_prob(y[which])

    everything = torch.ones(n * j, dtype=torch.bool)
    return torch.stack([log_p(everything, i) - log_p(task != i, i) for i in range(n)])


@pytest.mark.parametrize("phi", [bm.Joint(), bm.Exact()])
def test_scores_equal_the_closed_form(phi: bm.Joint | bm.Exact) -> None:
    post = bm.fit(normal_means.model, TASKS, theta=NUTS, phi=phi, progress=False)
    found = bm.leave_one_task_out(post)
    expected = closed_form(TASKS)
    scores = torch.tensor(found.table["log_score"].to_numpy())
    torch.testing.assert_close(scores, expected, rtol=0, atol=0.1)
    assert found.total == pytest.approx(float(expected.sum()), abs=0.3)
    # The control: a score in sample, which has seen the task, is another number.
    assert abs(post.log_score().sum() - expected.sum()) > 1


def an_odd_task_among(others: bm.Tasks, by: float) -> bm.Tasks:
    odd = others.y.clone()
    odd[0] += by
    return bm.Tasks.from_arrays(odd)


@pytest.fixture(scope="module")
def odd_one_out() -> tuple[bm.Tasks, bm.Posterior]:
    """One task far away, which moves mu by several sds, as its spread is known."""
    tasks = an_odd_task_among(TASKS, 40.0)
    importance = bm.Importance(draws=4000)
    post = bm.fit(normal_means.model, tasks, theta=importance, phi=bm.Exact(), progress=False)
    return tasks, post


def test_draws_are_moved_where_weights_fail(odd_one_out, monkeypatch) -> None:
    tasks, post = odd_one_out
    found = bm.leave_one_task_out(post, progress=False)
    assert found.table["how"].tolist() == ["moments", *["weights"] * 7]
    assert not found.doubtful and "1 of them by draws that were moved" in str(found)
    expected = closed_form(tasks)
    scores = torch.tensor(found.table["log_score"].to_numpy())
    torch.testing.assert_close(scores, expected, rtol=0, atol=0.05)
    # Tasks of a subsample are treated alike: with seed 0 the odd one is among six of them.
    some = bm.leave_one_task_out(post, subsample=6, progress=False).table
    assert some["how"]["0"] == "moments"
    assert (some["log_score"] - found.table["log_score"][some.index]).abs().max() < 1e-6
    monkeypatch.setattr(WithoutATask, "match", lambda *given: None)
    failed = bm.leave_one_task_out(post, progress=False)
    assert failed.doubtful == ["0"]
    assert abs(failed.table["log_score"].iloc[0] - float(expected[0])) > 1


WEIGHT = 3.0


def weighted(tasks: bm.Tasks) -> None:
    """normal_means, where each row counts thrice."""
    zero = torch.zeros((), dtype=tasks.dtype)
    mu = pyro.sample("mu", dist.Normal(zero, normal_means.MU_SD))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(mu, normal_means.TAU))
        with (
            pyro.plate("data", tasks.num_data, dim=-1),
            pyro.poutine.scale(scale=WEIGHT),
        ):
            pyro.sample("y", dist.Normal(phi, normal_means.SIGMA), obs=tasks.y)


@pytest.mark.parametrize(("by", "how"), [(0.0, "weights"), (20.0, "moments")])
def test_a_task_of_weighted_rows_is_taken_out_with_weights_and_scored_without(
    by: float, how: str
) -> None:
    tasks = an_odd_task_among(TASKS, by)
    importance = bm.Importance(draws=4000)
    post = bm.fit(weighted, tasks, theta=importance, phi=bm.Exact(), progress=False)
    found = bm.leave_one_task_out(post, progress=False).table
    assert found["how"].iloc[0] == how
    expected, scores = closed_form(tasks, WEIGHT), torch.tensor(found["log_score"].to_numpy())
    torch.testing.assert_close(scores, expected, rtol=0, atol=0.05)
    # The control: the evidence as it is weighted is no density of the data.
    log_w = evidence(post.draws.centred, bm.Exact(), post.fit.theta[0], tasks)
    assert (log_w.logsumexp(0) - math.log(len(log_w)) - expected).abs().min() > 0.3


def test_new_tasks_of_weighted_rows_and_refits_are_scored_without_weights() -> None:
    importance = bm.Importance(draws=4000)
    post = bm.fit(weighted, TASKS[:7], theta=importance, phi=bm.Exact(), progress=False)
    alone = replace(TASKS.select([7]), names=("new",), origin=None)
    found = bm.leave_one_task_out(post.adapt(alone), progress=False)
    expected = closed_form(TASKS, WEIGHT)[7]
    assert found.total == pytest.approx(float(expected), abs=0.02)
    without = WithoutATask.of(
        bm.fit(weighted, TASKS, theta=importance, phi=bm.Exact(), progress=False),
        bm.Exact(),
        torch.ones(8, dtype=torch.bool),
    )
    without.log_score[7] = 0
    without.refit(7, importance)
    assert float(without.log_score[7]) == pytest.approx(float(expected), abs=0.02)


def test_influence_is_how_far_theta_moves(odd_one_out) -> None:
    """Means of tasks are normal around mu, with a known spread."""
    tasks, post = odd_one_out
    table = bm.leave_one_task_out(post, progress=False).table
    each = 1 / (normal_means.TAU**2 + normal_means.SIGMA**2 / tasks.num_data)
    prior, means = normal_means.MU_SD**-2, tasks.y.mean(1)
    whole = prior + len(means) * each
    without = (means.sum() - means) * each / (whole - each)
    moved = (without - means.sum() * each / whole) * whole**0.5
    assert torch.allclose(torch.tensor(table["influence"].to_numpy()), moved.abs(), atol=0.1)
    assert set(table["moves"]) == {"mu"}


def without_one(tasks: bm.Tasks, out: int, nuts: bm.NUTS) -> float:
    """log p(D_i | D_-i) of a school, by a fit to the others, phi integrated out by hand."""
    rest = tasks.select(torch.tensor([k for k in range(len(tasks)) if k != out]))
    theta = bm.fit(
        eight_schools.model, rest, theta=nuts, phi=bm.Exact(), seed=out, progress=False
    ).theta
    spread = (theta["tau"] ** 2 + tasks.x["sigma"][out, 0] ** 2).sqrt()
    log_p = torch.distributions.Normal(theta["mu"], spread).log_prob(tasks.y[out, 0])
    return float(log_p.exp().mean().log())


@pytest.mark.slow
def test_a_task_with_bad_weights_is_fitted_without() -> None:
    schools = eight_schools.tasks()
    odd = schools.y.clone()
    odd[0] += 200.0
    tasks = bm.Tasks.from_arrays(odd, schools.x, names=schools.names)
    post = bm.fit(eight_schools.model, tasks, theta=NUTS, phi=bm.Exact(), progress=False)
    found = bm.leave_one_task_out(post)
    assert found.doubtful == [schools.names[0]] and "not to be trusted" in str(found)
    again = bm.leave_one_task_out(post, refit=NUTS, progress=False)
    assert again.table["refitted"].tolist() == [True, *[False] * 7] and not again.doubtful
    expected = without_one(tasks, 0, NUTS)
    assert again.table["log_score"].iloc[0] == pytest.approx(expected, rel=0.3)


def test_outcomes_that_are_not_normal_are_integrated_by_weights() -> None:
    tasks = logistic_regression.tasks(num_tasks=6, num_data=8, num_features=2)
    nuts = bm.NUTS(chains=1, tune=200, draws=200, compile=False)
    post = bm.fit(logistic_regression.model, tasks, theta=nuts, progress=False)
    found = bm.leave_one_task_out(post)
    # Eight coin flips each: better than chance knows, and not better than certain.
    assert (found.table["log_score"] < 0).all() and found.total > 6 * 8 * -1.2


def test_what_cannot_be_left_out_is_refused() -> None:
    point = bm.fit(
        normal_means.model, TASKS, theta=bm.Point(), phi=bm.Exact(draws=2), progress=False
    )
    with pytest.raises(bm.StructureError, match="the same without a task"):
        bm.leave_one_task_out(point)
    two = bm.fit(normal_means.model, TASKS[:2], theta=SHORT, progress=False)
    with pytest.raises(ValueError, match="2 tasks are too few"):
        bm.leave_one_task_out(two)
    apart = bm.fit(alone, TASKS, theta=SHORT, progress=False)
    with pytest.raises(bm.StructureError, match="no theta"):
        bm.leave_one_task_out(apart)
    none = bm.fit(pooled, TASKS, theta=SHORT, progress=False)
    with pytest.raises(bm.StructureError, match="no phi"):
        bm.leave_one_task_out(none)


@pytest.mark.slow
def test_eight_schools_against_exact_refits() -> None:
    schools = eight_schools.tasks()
    nuts = bm.NUTS(chains=4, tune=500, draws=1000, compile=False)
    post = bm.fit(eight_schools.model, schools, theta=nuts, phi=bm.Exact(), progress=False)
    found = bm.leave_one_task_out(post)
    refits = [without_one(schools, i, nuts) for i in range(8)]
    assert abs(found.total - sum(refits)) < 2 * found.error
    assert max(abs(a - b) for a, b in zip(found.table["log_score"], refits, strict=True)) < 0.1


def without_county(tasks: bm.Tasks, out: int, nuts: bm.NUTS) -> float:
    """log p(D_i | D_-i) of a county, by a fit to the others."""
    rest = tasks.select(torch.tensor([k for k in range(len(tasks)) if k != out]))
    other = bm.fit(radon.model, rest, theta=nuts, phi=bm.Exact(), seed=out, progress=False)
    alone = tasks.select(torch.tensor([out]))
    draws = other.fit.theta.flatten(0, 1)[::2]
    with torch.no_grad():
        each = [bm.Exact().log_evidence(other.density, theta, alone)[0] for theta in draws]
    return float(torch.stack(each).exp().mean().log())


@pytest.mark.slow
def test_radon_against_exact_refits() -> None:
    """The largest county whose weights are good, one of ten houses, and one of a single house."""
    counties = radon.tasks()
    nuts = bm.NUTS(chains=2, tune=300, draws=1000)
    post = bm.fit(radon.model, counties, theta=nuts, phi=bm.Exact(), progress=False)
    found = bm.leave_one_task_out(post)
    assert found.doubtful in ([], ["St. Louis"])
    seen = post.log_score().nansum(1)
    differences, control = [], []
    for name in ("Hennepin", "Carlton", "Wilkin"):
        i = counties.names.index(name)
        refit = without_county(counties, i, nuts)
        differences.append(found.table["log_score"].iloc[i] - refit)
        control.append(float(seen[i]) - refit)
    # Of a refit's 1,000 draws; ten counties differed by 0.02 at most where k is below 0.7.
    assert max(map(abs, differences)) < 0.1
    # The control: scores by a posterior that has seen the county.
    assert max(map(abs, control)) > 0.5


def given(tasks: bm.Tasks, others: bm.Tasks) -> torch.Tensor:
    """log p(D_i | all of the others), in closed form, (tasks,)."""
    n, j = others.y.shape
    y = torch.cat([others.y.flatten(), torch.zeros(tasks.y.shape[1], dtype=torch.float64)])
    task = torch.cat([torch.arange(n).repeat_interleave(j), torch.full((tasks.y.shape[1],), n)])
    same = (task[:, None] == task).double()
    covariance = normal_means.MU_SD**2 + normal_means.TAU**2 * same
    covariance += normal_means.SIGMA**2 * torch.eye(len(task))
    zero, known = torch.zeros(len(task), dtype=torch.float64), n * j

    def of(own: torch.Tensor) -> torch.Tensor:
        y[known:] = own
        old = MultivariateNormal(zero[:known], covariance[:known, :known]).log_prob(y[:known])
        return MultivariateNormal(zero, covariance).log_prob(y) - old

    return torch.stack([of(own) for own in tasks.y])


def fitted(tasks: bm.Tasks = TASKS) -> bm.Posterior:
    return bm.fit(normal_means.model, tasks, theta=NUTS, phi=bm.Exact(), progress=False)


def test_tasks_that_theta_has_never_seen_are_not_taken_out() -> None:
    new = bm.Tasks.from_arrays(TASKS.y[:3] + 6.0, names="xyz")
    post = fitted()
    found = bm.leave_one_task_out(post.adapt(new))
    scores = torch.tensor(found.table["log_score"].to_numpy())
    torch.testing.assert_close(scores, given(new, TASKS), rtol=0, atol=0.1)
    assert "theta has seen none of them: not taken out of it" in str(found)
    assert not found.table["left_out"].any() and not found.doubtful
    # Two, or one, are as good as three; a point has not seen them either.
    one = bm.leave_one_task_out(post.adapt(new[:1]))
    assert one.total == pytest.approx(float(scores[0]), abs=0.02)
    # The control: of tasks that it has seen, also after adapt, and of some of them.
    own = bm.leave_one_task_out(post.adapt(TASKS[[2, 0]]))
    expected = closed_form(TASKS)[[2, 0]]
    torch.testing.assert_close(
        torch.tensor(own.table["log_score"].to_numpy()), expected, rtol=0, atol=0.1
    )
    assert own.table["left_out"].all() and not own.notes


def test_some_that_were_seen_and_some_that_were_not() -> None:
    """Made apart, of the same numbers and names, a task is known too."""
    mixed = bm.Tasks.from_arrays(torch.cat([TASKS.y[:1], TASKS.y[1:2] + 4.0]), names=["0", "new"])
    found = bm.leave_one_task_out(fitted().adapt(mixed))
    assert found.table["left_out"].tolist() == [True, False]
    expected = [closed_form(TASKS)[0], given(mixed[["new"]], TASKS)[0]]
    assert found.table["log_score"].tolist() == pytest.approx([float(x) for x in expected], abs=0.1)
    assert "1 of them left out" in str(found) and "theta has not seen 'new'" in str(found)


def test_a_task_seen_in_part_is_refused() -> None:
    post = fitted()
    support, _ = TASKS.split(2)
    with pytest.raises(bm.TasksError, match=r"other datapoints of '0', '1', .* and 3 more than"):
        bm.leave_one_task_out(post.adapt(support))
    with pytest.raises(bm.TasksError, match="some are the same"):
        bm.leave_one_task_out(fitted(support).adapt(TASKS))


def test_of_a_posterior_that_was_loaded_it_is_not_known(tmp_path) -> None:
    named = bm.Tasks.from_arrays(TASKS.y, names="abcdefgh")
    fitted(named).save(tmp_path)
    post = bm.load(tmp_path, normal_means.model)
    with pytest.raises(bm.TasksError, match=r"hold no datapoints.*loaded holds no data"):
        bm.leave_one_task_out(post)
    with pytest.raises(bm.TasksError, match=r"same names \('a', 'b', .*fit again, or rename"):
        bm.leave_one_task_out(post.adapt(named))
    new = bm.Tasks.from_arrays(TASKS.y[:3] + 6.0, names="xyz")
    found = bm.leave_one_task_out(post.adapt(new)).table["log_score"]
    assert found.tolist() == pytest.approx(given(new, TASKS).tolist(), abs=0.1)


def test_episodes_are_refused() -> None:
    support, query = TASKS.split(2)
    new = bm.Tasks.from_arrays(TASKS.y + 6.0)
    few = bm.fit(
        normal_means.model,
        support,
        query=query,
        theta=bm.Gaussian(draws=20, adam=bm.Adam(steps=5)),
        phi=bm.Exact(),
        progress=False,
    )
    with pytest.raises(bm.TasksError, match="have a query"):
        bm.leave_one_task_out(few)
    with pytest.raises(bm.TasksError, match="fitted to the query"):
        bm.leave_one_task_out(few.adapt(support))
    assert not bm.leave_one_task_out(few.adapt(new)).table["left_out"].any()


def test_tasks_without_datapoints_and_few_draws_are_told() -> None:
    mask = torch.ones(8, 4, dtype=torch.bool)
    mask[3] = False
    short = bm.NUTS(chains=2, tune=100, draws=15, compile=False)
    post = bm.fit(
        normal_means.model,
        bm.Tasks.from_arrays(TASKS.y, mask=mask),
        theta=short,
        phi=bm.Exact(),
        progress=False,
    )
    found = bm.leave_one_task_out(post)
    assert "without datapoints, whose score is that of nothing, 0: '3'" in str(found)
    assert found.table["log_score"]["3"] == 0 and "3" not in found.doubtful
    assert found.trusted_k == pytest.approx(1 - 1 / math.log10(30)) and found.trusted_k < 0.4
    few = replace(found, table=found.table.assign(pareto_k=0.45))
    assert len(few.doubtful) == 7 and "30 draws are too few to tell" in str(few)
    # The control: of many draws that k is good.
    assert not replace(few, draws=1000).doubtful
