"""Nodes of a standard normal: exact to first order, and better than independent draws."""

from __future__ import annotations

import numpy as np
import pytest

from bayesmeta.task_level.normal_nodes import normal_nodes


def _error(nodes: np.ndarray, log_weights: np.ndarray) -> float:
    """Of E exp(a'x), over tasks, by root mean square; a is of length 0.6, in any direction."""
    a = np.random.default_rng(1).standard_normal(nodes.shape[1:])
    a *= 0.6 / np.linalg.norm(a, axis=-1, keepdims=True)
    found = np.exp((nodes * a).sum(-1) + log_weights).sum(0)
    return float(np.sqrt(np.mean((found / np.exp(0.18) - 1) ** 2)))


@pytest.mark.parametrize(("count", "size"), [(2, 1), (8, 1), (16, 5), (6, 40), (4, 0)])
def test_weights_sum_to_one_and_odd_functions_to_zero(count: int, size: int) -> None:
    nodes, log_weights = normal_nodes(count, 7, size)
    assert nodes.shape == (count, 7, size) and log_weights.shape == (count, 7)
    weights = np.exp(log_weights)
    np.testing.assert_allclose(weights.sum(0), 1.0)
    np.testing.assert_allclose((weights[..., None] * nodes).sum(0), 0.0, atol=1e-12)


@pytest.mark.parametrize("size", [1, 5, 30])
def test_many_nodes_have_the_moments_of_the_normal(size: int) -> None:
    nodes, log_weights = normal_nodes(64, 400, size)
    weights = np.exp(log_weights)[..., None]
    for power, moment in ((2, 1.0), (4, 3.0)):
        by_task = (weights * nodes**power).sum(0).mean(-1)
        assert abs(by_task.mean() - moment) < 5 * by_task.std() / 20 + 0.02


@pytest.mark.parametrize(("size", "fraction"), [(1, 0.3), (5, 0.7), (30, 0.95)])
def test_the_error_is_a_fraction_of_that_of_independent_draws(size: int, fraction: float) -> None:
    half = np.random.default_rng(0).standard_normal((8, 2000, size))
    independent = np.concatenate([half, -half]), np.full((16, 2000), -np.log(16))
    assert _error(*normal_nodes(16, 2000, size)) < fraction * _error(*independent)


@pytest.mark.parametrize(("count", "size"), [(8, 1), (10, 3), (64, 5)])
def test_nodes_of_a_task_stay_when_others_come_behind_it(count: int, size: int) -> None:
    few, more = (normal_nodes(count, tasks, size) for tasks in (3, 7))
    for one, other in zip(few, more, strict=True):
        np.testing.assert_array_equal(one, other[:, :3])
    # Negative control: those of another task are others.
    assert not np.allclose(few[0][:, 0], more[0][:, 1])
