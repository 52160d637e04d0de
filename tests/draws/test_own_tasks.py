"""A statistic of a task's datapoints is that of what phi was inferred from, or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm

RANDOM = np.random.default_rng(7)
X = RANDOM.normal(size=(4, 8)) + 5 * RANDOM.normal(size=(4, 1))
Y = 2 + 3 * (X - X.mean(1, keepdims=True)) + RANDOM.normal(size=(4, 8))
FRAME = pd.DataFrame({"school": np.repeat(list("abcd"), 8), "x": X.ravel(), "y": Y.ravel()})
FIT = {"theta": bm.Point(), "phi": bm.Exact(draws=200), "progress": False}


def centred(tasks: bm.Tasks) -> None:
    middle = tasks.x["x_mean"] if "x_mean" in tasks.x else tasks.mean("x")
    b = pyro.sample("b", dist.Normal(0.0, 5.0))
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Normal(0.0, 5.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(a + b * (tasks.x["x"] - middle), 1.0), obs=tasks.y)


def test_own_rows_have_the_statistic_of_the_fit_and_others_are_refused() -> None:
    tasks = bm.Tasks.from_frame(FRAME, task="school", y="y", x=["x"])
    post = bm.fit(centred, tasks, **FIT)
    own = post.predict().mean
    assert torch.allclose(post.predict(tasks).mean, own)
    assert torch.allclose(post.predict(tasks[[2, 0]].without_y()).mean, own[[2, 0]])
    support, query = tasks.split(5)
    post = bm.fit(centred, support, **FIT)
    for ask in (post.predict, post.log_score, lambda q: bm.compare({"post": post}, q)):
        with pytest.raises(bm.TasksError, match=r"tasks.mean\('x'\).*x_mean.*as task_x"):
            ask(query)
    with pytest.raises(bm.TasksError, match="one number a task"):
        bm.fit(centred, support, query=query, **FIT)


def test_a_column_of_each_task_predicts_rightly() -> None:
    frame = FRAME.assign(x_mean=FRAME.groupby("school")["x"].transform("mean"))
    tasks = bm.Tasks.from_frame(frame, task="school", y="y", x=["x"], task_x=["x_mean"])
    support, query = tasks.split(7, seed=1)
    found = bm.fit(centred, support, **FIT).predict(query).mean
    assert (found - query.y).square().mean().sqrt() < 1.6
    # What is refused would have centred the only row of each query on itself.
    wrong = found + 3 * (query.x["x_mean"] - query.mean("x"))
    assert (wrong - query.y).square().mean().sqrt() > 2.5
