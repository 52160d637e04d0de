"""Tasks whose data are of another kind are told, though each number is in the usual range."""

from __future__ import annotations

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm

SLOPE = 2.0
NOISE = 0.3


def lines(tasks: bm.Tasks) -> None:
    """Prices by size of flat: a level and a slope of each town."""
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        level = pyro.sample("level", dist.Normal(0.0, 3.0))
        slope = pyro.sample("slope", dist.Normal(SLOPE, 0.3))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Normal(level + slope * tasks.x["x"], NOISE), obs=tasks.y)


def towns(count: int, slope: float, seed: int, data: int = 10) -> bm.Tasks:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, data, generator=generator)
    level, own, noise = (torch.randn(count, n, generator=generator) for n in (1, 1, data))
    y = 3 * level + (slope + 0.3 * own) * x + NOISE * noise
    return bm.Tasks.from_arrays(y, {"x": x}, names=[f"{seed}.{i}" for i in range(count)])


@pytest.fixture(scope="module")
def trained() -> bm.Posterior:
    adam = bm.Adam(steps=300, compile=False)
    pair = {"theta": bm.Point(adam=adam), "phi": bm.Amortised(draws=200)}
    return bm.fit(lines, towns(600, SLOPE, 0), **pair, progress=False)


def test_tasks_of_the_same_kind_have_uniform_p(trained: bm.Posterior) -> None:
    found = trained.adapt(towns(200, SLOPE, 1)).diagnose()
    p = torch.tensor(list(found.p_unlike.values()))
    assert len(p) == 200 and abs(float(p.mean()) - 0.5) < 0.1
    assert not any("trained on" in message for message in found.messages)


def test_another_sign_of_the_slope_is_unlike(trained: bm.Posterior) -> None:
    new = towns(20, -SLOPE, 2)
    found = trained.adapt(new).diagnose()
    # Each column is in the range of those trained on.
    assert not any("outside of what" in message for message in found.messages)
    assert any("together they are of another kind" in message for message in found.messages)
    assert not found.ok and max(found.p_unlike.values()) < 0.2


def test_a_task_far_away_is_named(trained: bm.Posterior) -> None:
    new = towns(2, SLOPE, 3)
    y = new.y.clone()
    y[1] = -8 * new.x["x"][1].sign()
    found = trained.adapt(bm.Tasks.from_arrays(y, new.x, names=new.names)).diagnose()
    (said,) = (m for m in found.messages if "are unlike those" in m)
    assert "1 of 2 tasks" in said and "3.1" in said and found.p_unlike["3.1"] < 0.005


def test_nothing_is_said_of_few_tasks_or_after_loading(
    trained: bm.Posterior, tmp_path: Path
) -> None:
    trained.save(tmp_path)
    new = towns(5, -SLOPE, 2)
    assert not bm.load(tmp_path, lines).adapt(new).diagnose().p_unlike
    assert not trained.diagnose().p_unlike
