"""compare: scores by hand, errors of classes and of numbers, and what is refused."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import pooling, radon

MEANS = {"low": -0.5, "right": 0.0}


def known(mean: float):
    """No phi and no draws to speak of: y ~ N(mean, 1)."""

    def model(tasks):
        mu = pyro.sample("mu", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            shift = pyro.sample("shift", dist.Normal(mean, 1e-6))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(shift + 0 * mu, 1.0), obs=tasks.y)

    return model


def posteriors(support):
    theta = bm.Fixed({"mu": torch.tensor(0.0)})
    return {
        name: bm.fit(known(mean), support, theta=theta, phi=bm.Mode(), progress=False)
        for name, mean in MEANS.items()
    }


def data(seed=0, num_tasks=40):
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(num_tasks, 6, generator=generator, dtype=torch.float64)
    mask = torch.ones(num_tasks, 6, dtype=torch.bool)
    mask[::3, 4:] = False
    return bm.Tasks.from_arrays(y, mask=mask, names=[f"t{i}" for i in range(num_tasks)])


def test_scores_and_errors_are_those_by_hand():
    query = data()
    found = bm.compare(posteriors(data(1)), query)
    assert list(found.overall.index) == ["right", "low"]
    logs = {}
    for name, mean in MEANS.items():
        row = found.overall.loc[name]
        log_p = dist.Normal(mean, 1.0).log_prob(query.y)
        logs[name] = log_p
        assert row["log_score"] == pytest.approx(float(log_p[query.mask].mean()), abs=1e-5)
        rms = float((query.y - mean)[query.mask].square().mean().sqrt())
        assert row["error"] == pytest.approx(rms, abs=1e-5)
        first = found.by_task.iloc[0]
        assert first["datapoints"] == 4
        assert first["log_score", name] == pytest.approx(float(log_p[0, :4].mean()), abs=1e-5)
    behind = (logs["right"] - logs["low"])[query.mask].mean()
    assert found.overall.loc["low", "behind"] == pytest.approx(float(behind), abs=1e-5)
    assert f"{int(query.sizes.sum())} datapoints of 40 tasks, held out" in str(found)


def test_standard_errors_are_those_of_fresh_tasks():
    """Over 100 sets of tasks, the mean score scatters by as much as is said of one."""
    post = posteriors(data(1))
    runs = [bm.compare(post, data(seed)).overall for seed in range(100, 200)]
    for column in ("log_score", "behind"):
        values = torch.tensor([run.loc["low", column] for run in runs])
        said = torch.tensor([run.loc["low", f"{column}_error"] for run in runs]).mean()
        assert abs(float(values.std() / said) - 1) < 0.25


def test_of_one_task_the_standard_errors_are_over_its_datapoints():
    support, query = data(1)[["t1"]], data()[["t1"]]
    row = bm.compare(posteriors(support), query).overall.loc["low"]
    log_p = {mean: dist.Normal(mean, 1.0).log_prob(query.y[0]) for mean in MEANS.values()}
    expected = float(log_p[-0.5].std() / 6**0.5)
    assert row["log_score_error"] == pytest.approx(expected, abs=1e-5)
    behind = (log_p[0.0] - log_p[-0.5]).std() / 6**0.5
    assert row["behind_error"] == pytest.approx(float(behind), abs=1e-5)


def test_classes_are_judged_by_how_many_are_wrong():
    def coin(tasks):
        mu = pyro.sample("mu", dist.Normal(torch.zeros(()), 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = torch.stack([0 * phi, phi, -9 + 0 * phi], -1)
                pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)

    support = bm.Tasks.from_arrays([[1.0] * 8, [0.0] * 8], names=["a", "b"])
    query = bm.Tasks.from_arrays([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 2.0, 1.0]], names=["a", "b"])
    theta = bm.Fixed({"mu": torch.tensor(0.0)})
    post = bm.fit(coin, support, theta=theta, phi=bm.Mode(), progress=False)
    found = bm.compare({"coin": post}, query)
    assert found.overall.loc["coin", "error"] == pytest.approx(3 / 8)
    assert found.by_task["error", "coin"].tolist() == [0.25, 0.5]


@pytest.mark.slow
def test_on_radon_partial_pooling_is_best_and_no_pooling_worst():
    """Two houses of each county to learn from."""
    counties = radon.tasks()
    support, query = counties[counties.sizes >= 4].split(2, seed=1)
    nuts = bm.NUTS(chains=2, tune=300, draws=500)
    models = {"complete": pooling.complete, "none": pooling.none, "partial": pooling.partial}

    fits = {n: bm.fit(m, support, theta=nuts, progress=False) for n, m in models.items()}
    table = bm.compare(fits, query).overall
    assert list(table.index) == ["partial", "complete", "none"]
    assert table.loc["none", "behind"] > 2 * table.loc["none", "behind_error"]


def test_what_cannot_be_compared_is_refused():
    post = posteriors(data(1))
    with pytest.raises(ValueError, match="no posterior"):
        bm.compare({}, data())
    with pytest.raises(TypeError, match="give posteriors by name"):
        bm.compare(list(post.values()), data())
    with pytest.raises(TypeError, match=r"query=None; give bm\.Tasks"):
        bm.compare(post, data().query)
    with pytest.raises(bm.TasksError, match="no outcomes to score"):
        bm.compare(post, data().without_y())
    with pytest.raises(bm.TasksError, match="holds phi of 40 tasks"):
        bm.compare(post, data(num_tasks=41))


def test_rows_that_were_fitted_are_not_called_held_out():
    support, other = data(1), data(2)
    mixed = {"fitted": posteriors(support)["right"], "other": posteriors(other)["low"]}
    told = bm.compare(mixed, support)
    assert told.seen == ("fitted",)
    assert "held out" not in str(told) and "fitted had been fitted" in str(told)
    # Some of the tasks, in another order.
    assert bm.compare(mixed, support[[3, 1]]).seen == ("fitted",)


def test_rows_that_were_not_fitted_are():
    told = bm.compare(posteriors(data(1)), data(3))
    assert told.seen == () and "held out" in str(told)
    support, query = data(4).split(2)
    assert bm.compare(posteriors(support), query).seen == ()
