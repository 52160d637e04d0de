"""Importance weights: a known tail, and picks in proportion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bayesmeta as bm
from bayesmeta.engine.task_noise import TaskNoise
from bayesmeta.task_level import importance


@pytest.fixture(params=["arviz", "arviz_stats"])
def generation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each generation of ArviZ in turn, as if it alone were installed."""
    name: str = request.param
    if name == "arviz":
        if importance.classic() is None:
            pytest.skip("no ArviZ before 1.0 is installed")
    else:
        pytest.importorskip(name)
        monkeypatch.setattr(importance, "classic", lambda: None)
    return name


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_pareto_k_finds_the_shape_of_a_pareto(shape: float, generation: str) -> None:
    # exp(k E) with E exponential is Pareto with shape k.
    exponential = np.random.default_rng(0).exponential(size=(10_000, 2))
    found = importance.pareto_k(torch.from_numpy(shape * exponential))
    assert found.shape == (2,)
    assert torch.allclose(found, torch.tensor(shape, dtype=torch.float64), atol=0.15)


def test_weights_that_are_all_alike_have_no_tail(generation: str) -> None:
    weights = torch.stack([torch.zeros(1000), torch.randn(1000)], 1)
    found = importance.pareto_k(weights)
    assert found[0] == -torch.inf and torch.isfinite(found[1])


def test_picks_are_in_proportion_to_the_weights() -> None:
    weights = torch.tensor([0.1, 0.3, 0.6])
    given = weights.log()[:, None, None].expand(-1, 20_000, 2)
    tasks = bm.Tasks.from_arrays(torch.zeros(2, 1))
    found = importance.pick(given, TaskNoise(torch.Generator().manual_seed(0), tasks))
    assert found.shape == (20_000, 2)
    shares = torch.stack([(found == k).double().mean(0) for k in range(3)], 1)
    assert (shares - weights).abs().max() < 4 * (0.25 / 20_000) ** 0.5


def test_few_draws_have_plain_weights_and_a_tail_that_tells_nothing() -> None:
    weights = torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, k = importance.smoothed(weights)
    assert torch.equal(found, weights.log_softmax(0))
    assert (
        torch.isinf(k).all() and torch.isfinite(importance.smoothed(weights.repeat(2, 1))[1]).all()
    )


def test_no_tail_no_weight_and_too_few_draws_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1000, 1, generator=generator, dtype=torch.float64)
    one = torch.full((1000, 1), -torch.inf, dtype=torch.float64)
    one[3] = 0.0
    none = torch.full_like(one, -torch.inf)
    weights = torch.cat([torch.zeros_like(noise), noise, one, none], 1)
    found = importance.pareto_k(weights)
    assert found[0] == -torch.inf and found[1] < 0.7
    assert (found[2:] == torch.inf).all()
    assert importance.pareto_k(weights[:24]).isnan().all()
    assert importance.pareto_k(weights[:1]).isnan().all()
    lost = weights.masked_fill(weights == -torch.inf, torch.nan)[:, 2:]
    assert (importance.pareto_k(lost) == torch.inf).all()


def test_the_worth_of_weights_is_the_share_of_draws_that_they_leave() -> None:
    few = torch.full((1000, 2), -torch.inf)
    few[:100, 0] = 3.0
    assert torch.allclose(importance.worth(few), torch.tensor([0.1, 0.0]).double())
    assert importance.worth(torch.zeros(10, 1)) == 1


@pytest.mark.parametrize("each", [20, 80, 100, 200])
def test_weights_of_draws_that_stand_there_often_are_numbers(each: int) -> None:
    """ArviZ 0.23 gives NaN, and k of 0.05, for a tail of one value."""
    generator = torch.Generator().manual_seed(0)
    distinct = 0.1 * torch.randn(4000 // each, 1, generator=generator, dtype=torch.float64)
    weights = distinct.repeat_interleave(each, 0)
    found, k = importance.smoothed(weights)
    assert torch.isfinite(found).all() and abs(float(found.exp().sum()) - 1) < 1e-9
    if each == 100:
        assert torch.isinf(k).all()
        torch.testing.assert_close(found, weights.log_softmax(0))
