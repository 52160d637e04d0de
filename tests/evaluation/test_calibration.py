"""calibration: zero where probabilities are right, and by hand where they are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve

import bayesmeta as bm
from bayesmeta.evaluation.calibration import _of


def sharpened(by):
    """Two classes whose log odds are said to be `by` times x; there is nothing to infer."""

    def model(tasks):
        zero = torch.zeros((), dtype=tasks.dtype)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(zero, 1e-6))
            with pyro.plate("data", tasks.num_data, dim=-1):
                logits = torch.stack([0 * phi + 0 * tasks.x["x"], phi + by * tasks.x["x"]], -1)
                pyro.sample("y", dist.Categorical(logits=logits), obs=tasks.y)

    return model


def data(count=20_000):
    generator = torch.Generator().manual_seed(0)
    x = 1.5 * torch.randn(2, count, generator=generator, dtype=torch.float64)
    y = torch.rand(2, count, generator=generator, dtype=torch.float64) < x.sigmoid()
    mask = torch.ones(2, count, dtype=torch.bool)
    mask[1, 50:] = False
    return bm.Tasks.from_arrays(y.double(), {"x": x}, mask)


def found(by, tasks):
    post = bm.fit(sharpened(by), tasks, theta=bm.Fixed({}), phi=bm.Mode(), progress=False)
    return bm.calibration(post, tasks)


def test_true_probabilities_are_calibrated_and_sharpened_ones_are_not():
    assert found(1.0, data()).error < 0.012
    assert found(3.0, data()).error > 0.08


def test_the_table_is_that_of_scikit_learn():
    tasks = data(500)
    table = found(2.0, tasks).table
    sure = (2 * tasks.x["x"][tasks.mask]).abs().sigmoid()
    right = (tasks.x["x"] > 0).double()[tasks.mask] == tasks.y[tasks.mask]
    accuracy, confidence = calibration_curve(right.numpy(), sure.numpy(), n_bins=15)
    np.testing.assert_allclose(table["accuracy"], accuracy, atol=1e-6)
    np.testing.assert_allclose(table["confidence"], confidence, atol=1e-4)
    assert table["count"].sum() == 550
    by_hand = (np.abs(accuracy - confidence) * table["count"]).sum() / 550
    assert found(2.0, tasks).error == pytest.approx(by_hand, abs=1e-4)
    axis = Figure().subplots()
    found(2.0, tasks).draw(axis, color="k")
    assert len(axis.lines) == 2 and "over 550 datapoints" in str(found(2.0, tasks))


@pytest.mark.parametrize(
    ("query", "bins", "error", "message"),
    [
        (data(20).without_y(), 10, bm.TasksError, "no outcomes to compare"),
        (
            replace(data(20), y=2 * data(20).y),
            10,
            bm.TasksError,
            "from 0 to 2, .* model has 2: 0 to 1",
        ),
        (data(20), 0, ValueError, "bins=0"),
        (data(20).query, 10, TypeError, r"got None; tasks without a query have query=None"),
    ],
)
def test_what_cannot_be_judged_is_refused(query, bins, error, message):
    tasks = data(20)
    post = bm.fit(sharpened(1.0), tasks, theta=bm.Fixed({}), phi=bm.Mode(), progress=False)
    if isinstance(query, bm.Tasks):
        query = replace(query, origin=tasks.origin)
    with pytest.raises(error, match=message):
        bm.calibration(post, query, bins=bins)


def binary(by):
    """The same of a Bernoulli outcome."""

    def model(tasks):
        zero = torch.zeros((), dtype=tasks.dtype)
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(zero, 1e-6))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Bernoulli(logits=phi + by * tasks.x["x"]), obs=tasks.y)

    return model


def test_a_bernoulli_outcome_is_two_classes():
    tasks = data(500)
    post = bm.fit(binary(2.0), tasks, theta=bm.Fixed({}), phi=bm.Mode(), progress=False)
    pd.testing.assert_frame_equal(
        bm.calibration(post, tasks).table, found(2.0, tasks).table, atol=1e-5
    )


def few(count, by, seed):
    """Datapoints whose probabilities are right where by is 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(count, generator=generator, dtype=torch.float64)
    said = (by * logits).abs().sigmoid()
    right = torch.rand(count, generator=generator, dtype=torch.float64) < logits.abs().sigmoid()
    return _of(said, right, 15)


@pytest.mark.parametrize("count", [20, 300])
def test_the_band_is_that_of_exact_probabilities(count):
    runs = [few(count, 1.0, seed) for seed in range(60)]
    inside = [run.expected[0] <= run.error <= run.expected[2] for run in runs]
    assert 46 <= sum(inside) <= 60  # 54 +- 2.3
    cells = pd.concat([run.table for run in runs])
    covered = (cells["low"] <= cells["accuracy"]) & (cells["accuracy"] <= cells["high"])
    assert covered.mean() > 0.87
    # The control: probabilities that are too sure.
    sharp = [few(300, 3.0, seed) for seed in range(5)]
    assert all(run.error > run.expected[2] and "more than chance" in str(run) for run in sharp)


def test_few_datapoints_are_said_to_be_few():
    run = few(20, 1.0, 3)
    assert run.error > 0.1 and "no more than chance: of perfect calibration it is" in str(run)
    assert run.expected[1] > 0.1 > few(5000, 1.0, 0).expected[2]


def test_a_query_of_classes_that_was_seen_is_told_of():
    tasks = data(500)
    support, query = tasks.split(40)
    post = bm.fit(sharpened(1.0), support, theta=bm.Fixed({}), phi=bm.Mode(), progress=False)
    assert bm.calibration(post, query).notes == ()
    run = bm.calibration(post, support)
    assert "80 of 80 datapoints were seen in fitting (tasks" in str(run) and len(run.notes) == 1
