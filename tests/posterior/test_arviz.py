"""A posterior as ArviZ takes it: dims, coordinates, values, and ArviZ's own functions on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
import xarray as xr

import bayesmeta as bm
from bayesmeta.draws.draws import Draws
from bayesmeta.models import normal_means
from bayesmeta.phi import Joint
from bayesmeta.posterior import arviz as conversion
from bayesmeta.posterior import summary as table
from bayesmeta.theta.base import Fit

NAMES, SIZES = ("left", "empty", "right"), (3, 0, 2)


def model(tasks: bm.Tasks) -> None:
    """A theta in a plate, a phi with an event dimension, and a phi in a plate around the tasks."""
    with pyro.plate("feature", 2, dim=-3):
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
    tau = pyro.sample("tau", dist.HalfNormal(1.0))
    groups = pyro.plate("group", 4, dim=-3)
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        slope = pyro.sample("slope", dist.Normal(weight[:, 0, 0], 1.0).to_event(1))
        pyro.sample("lone", dist.Normal(torch.zeros(1), 1.0).to_event(1))
        with groups:
            shift = pyro.sample("shift", dist.Normal(0.0, tau))
        with pyro.plate("data", tasks.num_data, dim=-1):
            mean = (slope * tasks.x["dose"]).sum(-1) + tasks.x["level"] + shift.sum(-3)
            pyro.sample("y", dist.Normal(mean, 1.0), obs=tasks.y)


@pytest.fixture(scope="module")
def tasks() -> bm.Tasks:
    rng = np.random.default_rng(0)
    made = bm.Tasks.from_list(
        [rng.normal(size=n) for n in SIZES],
        {"dose": [rng.normal(size=(n, 2)) for n in SIZES]},
        NAMES,
    )
    level = torch.tensor([[1.0], [2.0], [3.0]], dtype=torch.float64)
    return replace(made, x={**made.x, "level": level})


@pytest.fixture(scope="module")
def post(tasks: bm.Tasks) -> bm.Posterior:
    """Two chains of 40 draws each, from the prior, with what a sampler would say of them."""
    drawn = bm.prior(model, tasks, draws=80, seed=1)
    fit = drawn.fit
    energy = torch.randn(2, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chains = Fit(
        fit.density,
        tasks,
        fit.theta.reshape(2, 40, -1),
        fit.phi.reshape(2, 40, tasks.num_tasks, -1),
        stats={"diverging": torch.zeros(2, 40, dtype=torch.bool), "energy": energy},
    )
    return bm.Posterior(Draws(chains, Joint(), is_point=False, seed=0))


@pytest.fixture(scope="module")
def point() -> bm.Posterior:
    return bm.fit(
        normal_means.model,
        normal_means.tasks(num_tasks=3),
        theta=bm.Point(adam=bm.Adam(steps=30)),
        progress=False,
    )


@pytest.fixture(scope="module")
def groups(post: bm.Posterior) -> dict[str, xr.Dataset]:
    return conversion.groups(post.draws)


@pytest.fixture(params=["arviz", "arviz_stats"])
def generation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each generation of ArviZ in turn, as if it alone were installed."""
    name: str = request.param
    monkeypatch.setattr(conversion, "_PRIOR_DRAWS", 10)
    if name == "arviz":
        if conversion.classic() is None:
            pytest.skip("no ArviZ before 1.0 is installed")
    else:
        pytest.importorskip(name)
        for module in (conversion, table):
            monkeypatch.setattr(module, "classic", lambda: None)
    return name


def test_posterior_has_named_dims_and_the_draws(
    groups: dict[str, xr.Dataset], post: bm.Posterior
) -> None:
    found = groups["posterior"]
    sample = ("chain", "draw")
    assert found["tau"].dims == sample
    assert found["weight"].dims == (*sample, "feature")
    assert found["slope"].dims == (*sample, "tasks", "slope_dim_0")
    assert found["lone"].dims == (*sample, "tasks", "lone_dim_0")
    assert found["shift"].dims == (*sample, "tasks", "group")
    assert found["tasks"].values.tolist() == list(NAMES)
    for name, value in {**post.theta, **post.phi}.items():
        # A theta in a plate has size-1 dims where "tasks" and "data" would be; ArviZ sees none.
        drawn = value[..., 0, 0] if name == "weight" else value
        np.testing.assert_array_equal(found[name].values, drawn.numpy())


def test_all_groups_are_there(groups: dict[str, xr.Dataset], post: bm.Posterior) -> None:
    assert set(groups) == {
        *("posterior", "unconstrained_posterior", "sample_stats"),
        *("log_prior", "log_likelihood", "posterior_predictive"),
        *("prior", "prior_predictive", "observed_data", "constant_data"),
    }
    assert groups["sample_stats"]["diverging"].dims == ("chain", "draw")
    assert groups["prior"]["tau"].shape == (1, 500)
    assert abs(float(groups["prior"]["weight"].std()) - 1.0) < 0.1
    assert groups["prior_predictive"]["y"].shape == (1, 500, sum(SIZES))


def test_datapoints_are_packed_in_the_order_of_the_tasks(
    groups: dict[str, xr.Dataset], post: bm.Posterior, tasks: bm.Tasks
) -> None:
    assert tasks.y is not None
    owner = ["left"] * 3 + ["right"] * 2
    rows = [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1)]
    log_likelihood = post.log_likelihood()
    for name in ("log_likelihood", "posterior_predictive", "observed_data", "constant_data"):
        assert groups[name]["observation"].values.tolist() == list(range(5))
        assert groups[name]["observation_task"].values.tolist() == owner
    for at, (task, row) in enumerate(rows):
        assert groups["observed_data"]["y"].values[at] == tasks.y[task, row]
        np.testing.assert_array_equal(
            groups["log_likelihood"]["y"].values[..., at], log_likelihood[:, :, task, row]
        )
    assert np.isfinite(groups["posterior_predictive"]["y"].values).all()


def test_columns_keep_their_level(groups: dict[str, xr.Dataset]) -> None:
    assert groups["constant_data"]["level"].dims == ("tasks",)
    assert groups["constant_data"]["level"].values.tolist() == [1.0, 2.0, 3.0]
    assert groups["constant_data"]["dose"].dims == ("observation", "dose_dim_0")


def test_new_tasks_bring_their_names(point: bm.Posterior, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "_PRIOR_DRAWS", 10)
    new = bm.Tasks.from_list([[1.0], [2.0, 3.0]], names=["x", "y"])
    found = conversion.groups(point.adapt(new).draws)
    assert found["posterior"]["tasks"].values.tolist() == ["x", "y"]
    assert found["observed_data"]["observation_task"].values.tolist() == ["x", "y", "y"]


def test_a_parameter_has_no_prior_to_draw_from() -> None:
    def flat(tasks: bm.Tasks) -> None:
        mu = pyro.param("mu", lambda: torch.zeros(()))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    theta = bm.Point(adam=bm.Adam(steps=20))
    post = bm.fit(flat, normal_means.tasks(3), theta=theta, progress=False)
    found = conversion.groups(post.draws)
    assert "posterior" in found and "prior" not in found


def test_arviz_0_works_on_inference_data(groups: dict[str, xr.Dataset], tmp_path: Path) -> None:
    az = conversion.classic()
    if az is None:
        pytest.skip("no ArviZ before 1.0 is installed")
    import matplotlib.pyplot as plt

    data = conversion.to_inference_data(groups)
    table = az.summary(data)
    assert "slope[left, 0]" in table.index and np.isfinite(table["r_hat"]).all()
    assert az.plot_trace(data, var_names=["tau"]).shape == (1, 2)
    assert az.plot_forest(data, var_names=["shift"])[0] is not None
    plt.close("all")
    with pytest.warns(UserWarning, match="Estimated shape parameter"):
        assert np.isfinite(az.loo(data).elpd_loo)  # draws of the prior are far from the posterior
    path = tmp_path / "post.nc"
    data.to_netcdf(str(path))
    again = az.from_netcdf(str(path))
    for name, group in groups.items():
        xr.testing.assert_equal(again[name], group)


def test_arviz_1_works_on_the_datatree(groups: dict[str, xr.Dataset], tmp_path: Path) -> None:
    stats = pytest.importorskip("arviz_stats")
    tree = conversion.to_datatree(groups)
    table = stats.summary(tree)
    assert "slope[left, 0]" in table.index and np.isfinite(table["r_hat"]).all()
    with pytest.warns(UserWarning, match="Estimated shape parameter"):
        assert np.isfinite(stats.loo(tree).elpd)
    if conversion.classic() is None:
        import arviz as az
        import matplotlib.pyplot as plt

        assert az.plot_forest(tree, var_names=["shift"], backend="matplotlib") is not None
        assert az.plot_trace_dist(tree, var_names=["tau"], backend="matplotlib") is not None
        plt.close("all")
    path = tmp_path / "post.nc"
    tree.to_netcdf(path, engine="h5netcdf")
    with xr.open_datatree(path, engine="h5netcdf") as again:
        for name, group in groups.items():
            xr.testing.assert_equal(again[name].to_dataset(), group)


def test_to_arviz_gives_what_the_installed_arviz_takes(
    post: bm.Posterior, point: bm.Posterior, generation: str
) -> None:
    kind = {"arviz": "InferenceData", "arviz_stats": "DataTree"}[generation]
    for posterior in (post, point):
        found = posterior.to_arviz()
        assert type(found).__name__ == kind
        assert "tasks" in found["posterior"].dims


def test_summary_has_a_row_an_entry(post: bm.Posterior, generation: str) -> None:
    table = post.summary()
    assert len(table) == 2 + 1 + 3 * 2 + 3 + 3 * 4
    assert table.index.tolist()[:4] == ["weight[0]", "weight[1]", "tau", "slope[left, 0]"]
    assert abs(table.loc["tau", "mean"] - float(post.theta["tau"].mean())) < 0.006
    assert "r_hat" not in post.summary("stats") and "mean" not in post.summary("diagnostics")


@pytest.mark.parametrize("kind", ["all", "diagnostics"])
def test_summary_is_the_table_of_arviz(post: bm.Posterior, kind: str, generation: str) -> None:
    """But for the interval, and the tails of ArviZ 1.x, which it takes where the interval ends."""
    found, dataset = post.summary(kind), conversion.values(post.draws)
    if generation == "arviz":
        az = conversion.classic()
        theirs = az.summary(az.InferenceData(posterior=dataset), kind=kind)
    else:
        import arviz_stats

        tree = conversion.to_datatree({"posterior": dataset})
        theirs = arviz_stats.summary(tree, kind=kind, ci_kind="eti", ci_prob=0.94)
        assert found.columns.tolist() == theirs.columns.tolist()
        theirs = theirs.drop(columns=["ess_tail", "mcse_sd"])
    assert found.index.tolist() == theirs.index.tolist()
    shared = [name for name in theirs.columns if not name.startswith("hdi")]
    np.testing.assert_allclose(found[shared].astype(float), theirs[shared].astype(float), rtol=1e-9)
    # Negative control: of half the draws it is another one.
    half = replace(post.fit, theta=post.fit.theta[:, :20], phi=post.fit.phi[:, :20])
    other = replace(post, draws=replace(post.draws, fit=half)).summary(kind)
    assert not np.allclose(other["ess_bulk"].astype(float), theirs["ess_bulk"].astype(float))


def test_a_table_of_another_kind_is_refused(
    post: bm.Posterior, point: bm.Posterior, generation: str
) -> None:
    for posterior in (post, point):
        with pytest.raises(ValueError, match="'some'; give one of all, stats, diagnostics"):
            posterior.summary("some")


def test_summary_has_the_same_interval_in_each_generation(
    post: bm.Posterior, generation: str
) -> None:
    """Of the quantiles; the narrowest interval, ArviZ 0.23's own, is found out."""
    draws = post.theta["tau"].flatten().double().numpy()
    expected = np.quantile(draws, [0.03, 0.97])
    names = {"arviz": ["eti_3%", "eti_97%"], "arviz_stats": ["eti94_lb", "eti94_ub"]}[generation]
    table = post.summary()
    assert table.columns.tolist()[:4] == ["mean", "sd", *names]
    assert np.allclose(table.loc["tau", names].astype(float), expected, atol=0.006)
    ordered, inside = np.sort(draws), int(np.floor(0.94 * len(draws)))
    least = (ordered[inside:] - ordered[: len(draws) - inside]).min()
    assert expected[1] - expected[0] - least > 0.1
    assert not set(names) & set(post.summary("diagnostics").columns)


def test_summary_of_one_chain_and_of_a_point_is_silent(
    post: bm.Posterior, point: bm.Posterior, generation: str, capfd: pytest.CaptureFixture[str]
) -> None:
    fit = replace(post.fit, theta=post.fit.theta[:1], phi=post.fit.phi[:1])
    table = replace(post, draws=replace(post.draws, fit=fit)).summary()
    assert np.isfinite(table["mean"]).all()
    table = point.summary()
    assert table.index.tolist() == ["mu", "phi[0]", "phi[1]", "phi[2]"]
    assert table.loc["phi[1]", "mean"] == float(point.phi["phi"][0, 0, 1])
    assert capfd.readouterr().err == ""


def test_inference_data_without_arviz_0_is_refused(
    groups: dict[str, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "classic", lambda: None)
    with pytest.raises(ImportError, match="to_datatree"):
        conversion.to_inference_data(groups)
