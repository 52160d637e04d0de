"""Predictions find their way back to the rows of the data frame, in its order and by its index."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.posterior import arviz as conversion

FRAME = pd.DataFrame(
    {
        "school": ["b", "a", "b", "c", "a", "b"],
        "x": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "y": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5],
    },
    index=pd.Index([60, 5, 40, 30, 2, 10], name="pupil"),
)
SD = 0.25


def tells_x(outcome: Any) -> Any:
    """A model whose outcome is known for each row by its x alone."""

    def model(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            pyro.sample("phi", dist.Normal(0.0, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", outcome(tasks.x["x"]), obs=tasks.y)

    return model


def predicted(tasks: bm.Tasks, outcome: Any = lambda x: dist.Normal(x, SD)) -> bm.Prediction:
    return bm.prior(tells_x(outcome), tasks, draws=200).predict()


@pytest.fixture
def tasks() -> bm.Tasks:
    return bm.Tasks.from_frame(FRAME, task="school", y="y", x=["x"])


def test_each_row_has_its_own_prediction_by_its_own_label(tasks: bm.Tasks) -> None:
    prediction = predicted(tasks)
    found = prediction.to_frame()
    assert found.index.equals(FRAME.index) and found.index.name == "pupil"
    assert list(found) == ["mean", "sd", "5%", "50%", "95%"]
    both = FRAME.join(found)
    np.testing.assert_array_equal(both["mean"], both["x"])
    np.testing.assert_allclose(both["sd"], SD)
    # Quantiles of 200 draws, by the sd of such a quantile, SD * sqrt(q (1 - q) / 200) / density.
    for name, z, error in (("5%", -1.645, 0.15), ("50%", 0.0, 0.09), ("95%", 1.645, 0.15)):
        assert ((both[name] - both["x"]) / SD - z).abs().max() < 4 * error
    assert list(prediction.to_frame(quantiles=(0.025,))) == ["mean", "sd", "2.5%"]


def test_outcomes_of_several_numbers_have_a_column_for_each(tasks: bm.Tasks) -> None:
    pairs = replace(tasks, y=torch.stack([tasks.y, -tasks.y], -1))

    def outcome(x: torch.Tensor) -> dist.Distribution:
        return dist.Normal(torch.stack([x, -x], -1), SD).to_event(1)

    found = predicted(pairs, outcome).to_frame(quantiles=(0.5,))
    assert list(found) == ["mean[0]", "mean[1]", "sd[0]", "sd[1]", "50%[0]", "50%[1]"]
    np.testing.assert_array_equal(found["mean[1]"], -FRAME["x"])


def test_classes_have_a_column_for_each(tasks: bm.Tasks) -> None:
    classes = replace(tasks, y=torch.zeros_like(tasks.y))

    def outcome(x: torch.Tensor) -> dist.Distribution:
        return dist.Categorical(torch.stack([x / 10, 1 - x / 10], -1))

    found = predicted(classes, outcome).to_frame()
    assert list(found)[:3] == ["mean[0]", "mean[1]", "sd[0]"] and "50%" in found
    np.testing.assert_allclose(found["mean[0]"], FRAME["x"] / 10)


def test_a_point_estimate_says_how_it_gets_quantiles(tasks: bm.Tasks) -> None:
    single = bm.prior(tells_x(lambda x: dist.Normal(x, SD)), tasks, draws=1)
    with pytest.raises(ValueError, match=r"predict\(repeats=1000\)"):
        single.predict().to_frame()
    assert list(single.predict().to_frame(quantiles=())) == ["mean", "sd"]


def test_the_way_back_is_kept_by_a_fit_to_batches_and_by_adapt(tasks: bm.Tasks) -> None:
    def model(tasks: bm.Tasks) -> None:
        mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            phi = pyro.sample("phi", dist.Normal(mu, 1.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Normal(phi + tasks.x["x"], 1.0), obs=tasks.y)

    theta = bm.Point(batch_size=2, adam=bm.Adam(steps=2, compile=False))
    post = bm.fit(model, tasks, theta=theta, phi=bm.Exact(), progress=False)
    assert post.predict(repeats=2).to_frame().index.equals(FRAME.index)
    new = FRAME.iloc[::-1].set_index(pd.Index(list("uvwxyz")))
    adapted = post.adapt(bm.Tasks.from_frame(new, task="school", y="y", x=["x"]))
    assert adapted.predict(repeats=2).to_frame().index.equals(new.index)


@pytest.mark.parametrize(
    ("index", "shown"),
    [
        (FRAME.index, [60, 40, 10, 5, 2, 30]),
        (pd.Index(list("uvwxyz")), ["u", "w", "z", "v", "y", "x"]),
        (pd.MultiIndex.from_product([[1, 2], list("abc")]), "(1, 'a') (1, 'c') (2, 'c')"),
    ],
)
def test_arviz_knows_the_labels(index: pd.Index, shown: Any, tmp_path: Any) -> None:
    tasks = bm.Tasks.from_frame(FRAME.set_index(index), task="school", y="y", x=["x"])
    post = bm.prior(tells_x(lambda x: dist.Normal(x, SD)), tasks, draws=2)
    found = conversion.groups(post.draws)
    for name in ("observed_data", "log_likelihood", "constant_data", "posterior_predictive"):
        labels = found[name]["observation_index"].values
        if isinstance(shown, str):
            assert " ".join(labels[:3]) == shown
        else:
            assert labels.tolist() == shown
    found["observed_data"].to_netcdf(tmp_path / "observed.nc", engine="h5netcdf")
    shown_x = found["constant_data"]["x"].values
    assert shown_x.tolist() == [1.0, 3.0, 6.0, 2.0, 5.0, 4.0]
    plain = bm.prior(tells_x(lambda x: dist.Normal(x, SD)), replace(tasks, index=None), draws=2)
    assert "observation_index" not in conversion.groups(plain.draws)["observed_data"].coords
