"""compare: scores by hand, errors of classes and of numbers, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
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


@pytest.mark.slow
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


def normal(scale=1.0, change=lambda y: y):
    """y ~ N(phi, scale^2) of outcomes as they are, or changed by the model."""

    def model(tasks):
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros((), dtype=tasks.dtype), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                y = None if tasks.y is None else change(tasks.y)
                pyro.sample("y", dist.Normal(phi, scale), obs=y)

    return model


def lognormal(tasks):
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        phi = pyro.sample("phi", dist.Normal(torch.zeros((), dtype=tasks.dtype), 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.LogNormal(phi, 1.0), obs=tasks.y)


def at_mode(model, support):
    return bm.fit(model, support, theta=bm.Fixed({}), phi=bm.Exact(draws=50), progress=False)


def broken(post, tasks=slice(1, 2)):
    phi = post.free_phi.clone()
    phi[:, :, tasks] = torch.nan
    return bm.Posterior(replace(post.draws, fit=replace(post.fit, phi=phi)))


@pytest.mark.parametrize("names", [["nan", "fine"], ["fine", "nan"]])
def test_a_model_without_numbers_is_last_and_told(names):
    support, query = data(1).split(3)
    fine = at_mode(normal(), support)
    posts = {"fine": fine, "nan": broken(fine)}
    found = bm.compare({name: posts[name] for name in names}, query)
    assert list(found.overall.index) == ["fine", "nan"] and found.failed == ("nan",)
    assert found.overall.loc["nan"].isna().all() and "no number for some datapoints: nan" in str(
        found
    )
    assert found.overall.loc["fine"].notna().all()
    at = found.by_task["log_score", "nan"].isna()
    assert list(at[at].index) == ["t1"]
    # The control.
    assert not bm.compare({"fine": fine}, query).failed


def test_what_is_impossible_by_a_model_is_told():
    def positive(tasks):
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros((), dtype=tasks.dtype), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Uniform(phi - 9, phi + 9), obs=tasks.y)

    support = bm.Tasks.from_list([[0.1, 0.2], [0.3]], names="ab")
    query = bm.Tasks.from_list([[0.2], [1e4]], names="ab")
    uniform = bm.fit(positive, support, theta=bm.Fixed({}), phi=bm.HMC(draws=20), progress=False)
    found = bm.compare({"uniform": uniform, "normal": at_mode(normal(), support)}, query)
    assert list(found.overall.index) == ["normal", "uniform"]
    assert found.overall.loc["uniform", "log_score"] == -torch.inf
    assert "impossible by uniform: 1 datapoints" in str(found)


def test_one_task_with_datapoints_among_several_is_as_one_alone():
    support, whole = data(1), data()
    mask = torch.zeros(40, 6, dtype=torch.bool)
    mask[4] = True
    query = bm.Tasks.from_arrays(whole.y, mask=mask, names=whole.names)
    post = posteriors(support)
    found, alone = bm.compare(post, query), bm.compare(post, query[["t4"]])
    pd.testing.assert_frame_equal(found.overall, alone.overall)
    assert found.overall.notna().all().all() and "6 datapoints of 1 tasks" in str(found)
    mask[4, 1:] = False
    single = bm.compare(post, bm.Tasks.from_arrays(whole.y, mask=mask, names=whole.names))
    assert "one datapoint has no standard error" in str(single)


def coins(kind):
    def model(tasks):
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros((), dtype=tasks.dtype), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                fn = dist.Bernoulli(logits=phi + torch.zeros_like(tasks.mask, dtype=tasks.dtype))
                if kind == "categorical":
                    fn = dist.Categorical(logits=torch.stack([0 * phi, phi], -1))
                pyro.sample("y", fn, obs=tasks.y)

    return model


def test_of_all_kinds_of_classes_the_error_is_the_share_that_is_wrong():
    support = bm.Tasks.from_arrays([[1.0] * 8, [0.0] * 8], names=["a", "b"])
    query = bm.Tasks.from_arrays([[1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]], names=["a", "b"])
    kinds = ("bernoulli", "categorical")
    posts = {
        k: bm.fit(coins(k), support, theta=bm.Fixed({}), phi=bm.Mode(), progress=False)
        for k in kinds
    }
    table = bm.compare(posts, query).overall
    assert table["error"].tolist() == [3 / 8, 3 / 8]
    # Numbers beside them have an error of another kind, and another column.
    mixed = bm.compare({**posts, "numbers": at_mode(normal(), support)}, query).overall
    assert "error" not in mixed
    wrong, rms = mixed["error (share wrong)"], mixed["error (root mean square)"]
    assert wrong[list(kinds)].tolist() == [3 / 8, 3 / 8] and wrong.isna()["numbers"]
    assert rms.isna()[list(kinds)].all() and 0 < rms["numbers"] < 1


def test_models_of_other_numbers_are_refused_without_a_jacobian():
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(5, 8, generator=generator, dtype=torch.float64).exp()
    support, query = bm.Tasks.from_arrays(y, names="abcde").split(4)
    logs, plain = at_mode(normal(change=torch.log), support), at_mode(normal(), support)
    with pytest.raises(bm.TasksError, match=r"'log' observes .* task 'a', row 0.*log_jacobian={"):
        bm.compare({"plain": plain, "log": logs}, query)
    jacobian = {"log": -query.y.log()}
    found = bm.compare({"plain": plain, "log": logs}, query, log_jacobian=jacobian)
    # The same model, of y itself.
    same = bm.compare({"direct": at_mode(lognormal, support)}, query).overall
    assert found.overall.loc["log", "log_score"] == pytest.approx(same["log_score"].iloc[0])
    assert found.overall["error"].isna()["log"] and found.overall["error"].notna()["plain"]
    assert "errors of log are left out" in str(found)
    for wrong, match in (
        ({"logs": jacobian["log"]}, "names 'logs', but the models are"),
        ({"log": torch.zeros(5)}, r"shape \(5,\)"),
        ({"log": torch.full((5, 4), torch.nan)}, "not finite"),
    ):
        with pytest.raises(bm.TasksError, match=match):
            bm.compare({"plain": plain, "log": logs}, query, log_jacobian=wrong)


def test_models_of_the_same_numbers_in_another_dtype_are_not():
    support, query = data(1).split(3)
    single = at_mode(normal(), support.to(dtype=torch.float32))
    assert len(bm.compare({"double": at_mode(normal(), support), "single": single}, query).overall)


def shared(tasks):
    mu = pyro.sample("mu", dist.Normal(torch.zeros((), dtype=tasks.dtype), 3.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        mean = pyro.sample("mean", dist.Normal(mu, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


def test_a_theta_that_has_seen_the_query_stands_below_the_others():
    tasks = data(1)
    support, query = tasks.split(3)
    theta = {"theta": bm.Point(), "phi": bm.Exact(draws=200), "progress": False}
    whole = bm.fit(shared, tasks, **theta).adapt(support)
    honest = bm.fit(shared, support, **theta)
    off = at_mode(normal(9.0), support)
    found = bm.compare({"whole": whole, "off": off, "honest": honest}, query)
    assert found.seen == ("whole",) and list(found.overall.index) == ["honest", "off", "whole"]
    assert found.overall.loc["honest", "behind"] == 0 and "stand below the others" in str(found)
    some = bm.fit(shared, tasks[:5], **theta).adapt(support)
    told = bm.compare({"some": some, "honest": honest}, query)
    assert told.seen == ("some",) and f"(to {int(query[:5].mask.sum())} of them)" in str(told)
    # The control: of other tasks, and of those of the same names that were made apart.
    other = bm.fit(shared, data(7), **theta).adapt(support)
    assert bm.compare({"other": other, "honest": honest}, query).seen == ()
    # Read twice they are the same ones.
    again = bm.fit(shared, data(1), **theta).adapt(support)
    assert bm.compare({"again": again}, query).seen == ("again",)


def test_what_a_posterior_that_was_loaded_may_have_seen_is_told(tmp_path):
    support, query = data(1).split(3)
    post = bm.fit(shared, data(1), theta=bm.Point(), phi=bm.Exact(draws=20), progress=False)
    post.save(tmp_path)
    loaded = bm.load(tmp_path, shared).adapt(support)
    assert "loaded was loaded, and its theta fitted to tasks of the same names" in str(
        bm.compare({"loaded": loaded}, query)
    )
