"""Chains start where the density is not zero, at values given, or say which site forbids it."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch

import bayesmeta as bm
from bayesmeta.models import normal_means
from bayesmeta.theta import starts

TASKS = bm.Tasks.from_list([[1.2, 1.5, 4.0], [2.5, 2.6, 9.0, 3.0]], names=["a", "b"])
TASKS = TASKS.to(dtype=torch.float64)


def pareto(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        b = pyro.sample("b", dist.LogNormal(0.0, 1.0))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Pareto(b, torch.tensor(2.0)), obs=tasks.y)


def maximum(tasks: bm.Tasks) -> None:
    with pyro.plate("tasks", tasks.num_tasks, dim=-2):
        a = pyro.sample("a", dist.Exponential(0.1))
        with pyro.plate("data", tasks.num_data, dim=-1):
            pyro.sample("y", dist.Uniform(0.0, a), obs=tasks.y)


def nuts(tune: int = 300, draws: int = 500, **given: object) -> bm.NUTS:
    return bm.NUTS(chains=2, tune=tune, draws=draws, compile=False, noncentred=(), **given)


def moments(log_density: object, low: float, high: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and sd by quadrature."""
    grid = torch.linspace(low, high, 400_001, dtype=torch.float64)
    share = log_density(grid).softmax(0)
    mean = (share * grid).sum()
    return mean, (share * (grid - mean) ** 2).sum().sqrt()


@pytest.mark.slow
def test_draws_of_a_minimum_are_possible_and_right() -> None:
    post = bm.fit(pareto, TASKS, theta=nuts(draws=2000), progress=False)
    for i, (least, count) in enumerate([(1.2, 3), (2.5, 4)]):
        mean, sd = moments(
            lambda b, n=count: -0.5 * b.log() ** 2 + (2 * n - 1) * b.log(), 1e-6, least
        )
        draws = post.phi["b"][..., i]
        assert (draws <= least).all()
        # An effective sample of 200 at least.
        assert (draws.mean() - mean).abs() < 4 * sd / 200**0.5
        assert (draws.std() / sd - 1).abs() < 0.2
    assert "would cross an edge" in str(post.diagnose())


def test_starts_of_zero_density_are_drawn_again() -> None:
    """At (-1, 1) the bound is exp(1) at most, below the data: no such start has a density."""
    post = bm.fit(maximum, TASKS, theta=nuts(50, 50), progress=False)
    assert (post.phi["a"] >= torch.tensor([4.0, 9.0])).all()


def test_negative_control_uniform_starts_alone_find_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starts, "_THETAS", 0)
    with pytest.raises(bm.StructureError, match="no start was found"):
        bm.fit(maximum, TASKS, theta=nuts(50, 50), progress=False)


def test_a_start_that_fails_names_site_task_and_datapoint() -> None:
    def bounded(tasks: bm.Tasks) -> None:
        with pyro.plate("tasks", tasks.num_tasks, dim=-2):
            a = pyro.sample("a", dist.Uniform(4.0, 8.0))
            with pyro.plate("data", tasks.num_data, dim=-1):
                pyro.sample("y", dist.Uniform(0.0, a), obs=tasks.y)

    words = r"site 'y', task 'b', datapoint 2: value 9\.0 is outside .* give a start"
    with pytest.raises(bm.StructureError, match=words):
        bm.fit(bounded, TASKS, theta=nuts(50, 50), progress=False)


def test_chains_start_at_the_values_given() -> None:
    """Before any adaptation moves it: with the smallest of steps the first draw is the start."""
    tasks = normal_means.tasks(num_tasks=3, num_data=3, ragged=True)
    phi = torch.tensor([5.0, -7.0, 2.0], dtype=torch.float64)
    asked = []

    def start(seed: int) -> dict[str, torch.Tensor]:
        asked.append(seed)
        return {"mu": torch.tensor(3.0), "phi": phi}

    found: list[torch.Tensor] = []
    real = starts.Starts.__call__

    def watched(self: starts.Starts, seed: int) -> object:
        point = real(self, seed)
        found.append(torch.from_numpy(point))
        return point

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(starts.Starts, "__call__", watched)
        bm.fit(normal_means.model, tasks, theta=nuts(20, 20, start=start), progress=False)
    assert len(asked) >= 3  # a check beforehand, and each of two chains
    for point in found:
        assert point[0] == 3.0
        assert point[1:].sort().values.tolist() == phi.sort().values.tolist()


def test_a_given_start_fits_the_order_of_ragged_tasks() -> None:
    """At the data's own minima, which other tasks would not allow."""
    start = {"b": torch.tensor([1.19, 2.49])}
    bm.fit(pareto, TASKS.select(torch.tensor([1, 0])), theta=nuts(20, 20), progress=False)
    post = bm.fit(pareto, TASKS, theta=nuts(20, 20, start=start), progress=False)
    assert (post.phi["b"] <= torch.tensor([1.2, 2.5])).all()
    wrong = {"b": torch.tensor([2.49, 1.19])}
    with pytest.raises(bm.StructureError, match=r"site 'y', task 'a', datapoint 0: value 1\.2"):
        bm.fit(pareto, TASKS, theta=nuts(20, 20, start=wrong), progress=False)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"mu": 1.0}, "start= names mu, but what is sampled are b"),
        ({"b": torch.tensor([1.0])}, r"shape \(1,\), but it has shape \(2,\)"),
        ({"b": torch.tensor([-1.0, 1.0])}, "outside its support"),
    ],
)
def test_what_does_not_fit_is_refused(start: dict[str, object], words: str) -> None:
    with pytest.raises(bm.StructureError, match=words):
        bm.fit(pareto, TASKS, theta=nuts(20, 20, start=start), progress=False)


def test_a_start_is_values_or_a_function() -> None:
    with pytest.raises(TypeError, match="give values by site"):
        bm.NUTS(start=1.0)
