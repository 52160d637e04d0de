"""Work on broadcast values is moved before the broadcast, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, StudentT
from torch.fx import GraphModule

from bayesmeta.capturing.capture import capture
from bayesmeta.capturing.late_broadcast import work_before_broadcast

Function = Callable[[Tensor, Tensor], Tensor]
aten = torch.ops.aten
Y = torch.linspace(-2.0, 3.0, 12, dtype=torch.float64).reshape(3, 4)
SIGMA = torch.tensor(0.7, dtype=torch.float64)


def normal(y: Tensor, sigma: Tensor) -> Tensor:
    return Normal(0.5 * y, sigma.exp()).log_prob(y).sum()


def student(y: Tensor, sigma: Tensor) -> Tensor:
    return StudentT(3.0, y.mean(1, keepdim=True), sigma.exp()).log_prob(y).sum()


def masked(y: Tensor, sigma: Tensor) -> Tensor:
    return torch.where(y > 0, sigma.expand(3, 4).log() / y.shape[0], 0.0).sum()


def integer_divisor(y: Tensor, sigma: Tensor) -> Tensor:
    return (y / torch.tensor(3).expand(3, 4)).sum() * sigma


def small_result(y: Tensor, sigma: Tensor) -> Tensor:
    return sigma.expand(3, 4).expand(2, 3, 4).log()


def _captured(function: Function) -> GraphModule:
    return capture(lambda *inputs: (function(*inputs),), [Y, SIGMA])


def _rewritten(function: Function) -> GraphModule:
    return work_before_broadcast(_captured(function))


def _largest(graph: GraphModule, target: object) -> int:
    """Elements of the largest result of an operation; 0 where it does not occur."""
    return max((n.meta["val"].numel() for n in graph.graph.nodes if n.target is target), default=0)


@pytest.mark.parametrize("function", [normal, student, masked, integer_divisor, small_result])
def test_the_value_stays(function: Function) -> None:
    (found,) = _rewritten(function)(Y, SIGMA)
    expected = function(Y, SIGMA)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)


def test_logarithm_and_division_leave_the_long_loop() -> None:
    before = _captured(normal)
    assert _largest(before, aten.log.default) == _largest(before, aten.div.Tensor) == 12
    after = _rewritten(normal)
    assert _largest(after, aten.log.default) == 1
    assert _largest(after, aten.div.Tensor) == 0


def test_a_divisor_of_full_size_stays_a_divisor() -> None:
    graph = _rewritten(lambda y, s: y / (y + s))
    assert _largest(graph, aten.div.Tensor) == 12
    assert _largest(graph, aten.reciprocal.default) == 0
