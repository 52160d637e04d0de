"""calibration of numbers: what is right passes, and what is narrow, moved or tied does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from scipy import stats

import bayesmeta as bm
from bayesmeta.evaluation.places import places, strays

Model = Callable[[bm.Tasks], None]


def normal(sd: float = 1.0) -> Model:
    """A mean a task, known to within what few datapoints tell."""

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros((), dtype=tasks.dtype), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, sd), obs=tasks.y)

    return model


def counts(tasks: bm.Tasks) -> None:
    """A small rate a task, so that most counts are 0, 1 or 2."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        rate = pyro.sample("rate", dist.LogNormal(torch.zeros((), dtype=tasks.dtype), 0.5))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Poisson(rate), obs=tasks.y)


def pairs(tasks: bm.Tasks) -> None:
    """Two numbers a datapoint, of which the second is wider."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        zero = torch.zeros(2, dtype=tasks.dtype)
        phi = pyro.sample("phi", dist.Normal(zero, 1.0).to_event(1))
        sds = torch.tensor([1.0, 3.0], dtype=tasks.dtype)
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(phi, sds).to_event(1), obs=tasks.y)


def split(model: Model, tasks: int, shots: int, rest: int, seed: int) -> tuple[bm.Tasks, bm.Tasks]:
    """Support and query of tasks drawn from a model."""
    shape = (tasks, shots + rest, 2) if model is pairs else (tasks, shots + rest)
    design = bm.Tasks.from_arrays(torch.zeros(shape, dtype=torch.float64))
    return bm.simulate(model, design, seed=seed)[0].tasks.split(shots)


def post(model: Model, support: bm.Tasks, phi: bm.Phi | None = None) -> bm.Posterior:
    phi = phi if phi is not None else bm.Exact(draws=1000)
    return bm.fit(model, support, theta=bm.Fixed({}), phi=phi, progress=False)


def of_all(found: bm.PredictiveCalibration, name: str = "y"):
    return found.table.loc[(name, "all")]


@pytest.fixture(scope="module")
def halves() -> tuple[bm.Tasks, bm.Tasks]:
    return split(normal(), 40, 3, 10, seed=2)


def test_what_is_right_passes(halves: tuple[bm.Tasks, bm.Tasks]) -> None:
    support, query = halves
    found = bm.calibration(post(normal(), support), query)
    assert isinstance(found, bm.PredictiveCalibration)
    assert not found.failing and "no more than by chance" in str(found)
    row = of_all(found)
    assert row["low90"] <= row["covers90"] <= row["high90"] and row["count"] == 400
    # The width of a normal of variance 1 + 1 / 4.
    assert row["width90"] == pytest.approx(2 * 1.645 * 1.25**0.5, rel=0.02)
    assert found.places["y"].shape == (400,)
    axis = Figure().subplots()
    found.draw(axis)
    assert axis.get_legend_handles_labels()[1] == ["y"]


def test_what_is_too_narrow_or_wide_or_moved_is_found(halves: tuple[bm.Tasks, bm.Tasks]) -> None:
    support, query = halves
    assert query.y is not None
    narrow = bm.calibration(post(normal(0.8), support), query)
    assert narrow.failing == {("y", "all"): "too narrow"} and "hold" in str(narrow)
    wide = bm.calibration(post(normal(1.3), support), query)
    assert wide.failing == {("y", "all"): "too wide"}
    moved = bm.calibration(post(normal(), support), replace(query, y=query.y + 0.4))
    assert moved.failing == {("y", "all"): "too low"} and of_all(moved)["bias"] > 0.05


def test_counts_pass_by_chance_among_equal_ones_and_not_without() -> None:
    support, query = split(counts, 40, 3, 10, seed=1)
    given = post(counts, support, bm.Laplace(particles=16))
    found = bm.calibration(given, query)
    assert isinstance(found, bm.PredictiveCalibration) and not found.failing
    # The control: equal ones all counted as above, or as below.
    assert query.y is not None
    draws = given.predict(query).draws.flatten(0, 1)
    for place in ((draws < query.y).double().mean(0), (draws <= query.y).double().mean(0)):
        assert stats.kstest(place[query.mask], "uniform").pvalue < 1e-6
    assert stats.kstest(found.places["y"], "uniform").pvalue > 0.01


def test_chance_is_that_of_datapoints_that_share_a_phi() -> None:
    """Of five tasks of one shot each, whose 40 further datapoints stray together."""
    p, alone = [], []
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        phi = torch.randn(501, 5, 1, generator=generator).double() / 2**0.5
        y = phi + torch.randn(501, 5, 40, generator=generator).double()
        whole = places(y[0].flatten(), y[1:].flatten(1), seed)
        p.append(strays(whole).p)
        alone.append(stats.kstest(whole[0].numpy(), "uniform").pvalue)
    assert np.mean(np.array(p) < 0.1) < 0.25 and stats.kstest(p, "uniform").pvalue > 0.01
    # The control: taken for independent, they are not.
    assert np.mean(np.array(alone) < 0.05) > 0.5


def test_sizes_of_support_are_told_apart() -> None:
    y = bm.simulate(normal(), bm.Tasks.from_arrays(torch.zeros(30, 22).double()))[0].tasks.y
    assert y is not None
    sizes = [1 + i % 12 for i in range(30)]
    names = [f"t{i}" for i in range(30)]
    support = bm.Tasks.from_list(
        [row[:n].numpy() for row, n in zip(y, sizes, strict=True)], names=names
    )
    query = bm.Tasks.from_list([row[12:].numpy() for row in y], names=names)
    table = bm.calibration(post(normal(), support), query).table
    labels = table.index.get_level_values("size").tolist()
    assert labels[0] == "all" and labels[1].startswith("1 to") and len(labels) == 5
    assert table["count"].iloc[1:].sum() == table["count"].iloc[0] == 300
    widths = table["width90"].iloc[1:].to_numpy()
    assert (np.diff(widths) < 0).all()


def test_outcomes_of_several_numbers_are_told_apart() -> None:
    support, query = split(pairs, 30, 2, 8, seed=3)
    given = post(pairs, support)
    found = bm.calibration(given, query)
    assert isinstance(found, bm.PredictiveCalibration)
    assert list(found.places) == ["y[0]", "y[1]"] and not found.failing
    assert query.y is not None
    off = replace(query, y=query.y * torch.tensor([1.0, 0.5], dtype=torch.float64))
    assert list(bm.calibration(given, off).failing) == [("y[1]", "all")]


def test_a_point_is_asked_for_many_outcomes_and_is_too_narrow() -> None:
    """With one shot phi is known to .7, of which a point says nothing."""
    support, query = split(normal(), 40, 1, 10, seed=4)
    given = post(normal(), support, bm.Mode())
    found = bm.calibration(given, query)
    assert isinstance(found, bm.PredictiveCalibration)
    assert found.draws == 1000 and len(found.places["y"]) == 400
    assert found.failing == {("y", "all"): "too narrow"}
    again = bm.calibration(given, query)
    assert isinstance(again, bm.PredictiveCalibration)
    np.testing.assert_array_equal(found.places["y"], again.places["y"])
    whole = bm.calibration(post(normal(), support), query)
    assert isinstance(whole, bm.PredictiveCalibration) and not whole.failing


def test_predictions_that_are_no_numbers_are_refused(halves: tuple[bm.Tasks, bm.Tasks]) -> None:
    support, query = halves
    given = post(normal(), support)
    phi = given.draws.free_phi.clone()
    phi[0, 3, 7] = torch.nan
    broken = replace(given, draws=replace(given.draws, fit=replace(given.fit, phi=phi)))
    with pytest.raises(bm.TrainingError, match="no numbers in 1 of 40 tasks"):
        bm.calibration(broken, query)


def ordered(cut: float = 0.0) -> Model:
    """Grades 0 to 3, with a level a task; cut points may lie elsewhere."""

    def model(tasks: bm.Tasks) -> None:
        cuts = torch.tensor([-1.0, 0.0, 1.0], dtype=tasks.dtype) + cut
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(torch.zeros((), dtype=tasks.dtype), 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.OrderedLogistic(phi, cuts), obs=tasks.y)

    return model


def test_ordered_classes_are_judged_by_their_order() -> None:
    support, query = split(ordered(), 60, 4, 12, seed=4)
    laplace = bm.Laplace(particles=16)
    right = bm.calibration(post(ordered(), support, laplace), query)
    assert isinstance(right, bm.PredictiveCalibration) and not right.failing
    # The control: predictions moved up, which are right on average where nothing is known.
    moved = post(ordered(), support, laplace)
    assert query.y is not None
    lower = bm.calibration(moved, replace(query, y=(query.y - 1).clamp(min=0)))
    assert isinstance(lower, bm.PredictiveCalibration)
    assert "too high" in lower.failing["y", "all"]
    with pytest.raises(bm.TasksError, match="model has 4: 0 to 3"):
        bm.calibration(moved, replace(query, y=query.y + 1))


def test_a_query_that_was_seen_is_told_of(halves: tuple[bm.Tasks, bm.Tasks]) -> None:
    support, query = halves
    fitted = post(normal(), support)
    assert bm.calibration(fitted, query).notes == ()
    found = bm.calibration(fitted, support)
    assert len(found.notes) == 1 and "120 of 120 datapoints were seen in fitting" in str(found)

    # Theta alone has seen them, where phi is of others.
    def learned(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi, 1.0), obs=tasks.y)

    whole = bm.fit(learned, query, theta=bm.Point(), phi=bm.Exact(), progress=False)
    again = bm.calibration(whole.adapt(support), query)
    assert "400 of 400 datapoints were seen in fitting" in str(again)
