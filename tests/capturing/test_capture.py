"""A captured function is the function, at other inputs and whatever torch's default dtype is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bayesmeta import CaptureError
from bayesmeta.capturing.capture import (
    capture,
    compile_graph,
    over_draws,
    value_and_gradient,
)
from bayesmeta.running.isolation import at_dtype

X = torch.tensor([0.3, -1.2], dtype=torch.float64)


def test_one_tensor_as_two_inputs() -> None:
    graph = capture(lambda a, b: (a * 2 + b,), [X, X])
    assert torch.equal(graph(X, X + 1)[0], 3 * X + 1)


def test_what_is_detached_stays_so_where_the_graph_is_differentiated() -> None:
    def function(x: Tensor) -> Tensor:
        return (x.detach() * x).sum()

    def slope(value: Callable[[Tensor], Tensor]) -> Tensor:
        at = X.clone().requires_grad_()
        return torch.autograd.grad(value(at), at)[0]

    assert torch.equal(slope(function), X)
    assert torch.equal(slope(capture(function, [X])), X)
    assert torch.equal(slope(capture(capture(function, [X]), [X])), X)
    assert torch.equal(slope(capture(lambda x: (x * x).sum(), [X])), 2 * X)


def test_created_tensors_keep_the_dtype_of_the_capture() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        created = torch.eye(2) @ x + torch.ones(2) @ x + torch.linspace(0, 1, 2) @ x
        return (created + torch.full((2,), 0.1) + torch.zeros(2)[torch.arange(2)],)

    with at_dtype(torch.float64):
        expected = function(X)[0]
        graph = capture(function, [X])
    assert torch.get_default_dtype() == torch.float32
    assert torch.equal(graph(X)[0], expected)


def test_value_and_gradient_with_an_unused_input() -> None:
    def function(a: Tensor, b: Tensor, data: Tensor) -> Tensor:
        return (a**3 * data).sum() + 0 * data.sum()

    value, of_a, of_b = capture(value_and_gradient(function, 2), [X, X, X])(X, X, X + 2)
    assert torch.equal(value, (X**3 * (X + 2)).sum())
    assert torch.allclose(of_a, 3 * X**2 * (X + 2))
    assert torch.equal(of_b, torch.zeros(2, dtype=torch.float64))


def test_over_draws_is_a_loop() -> None:
    graph = capture(lambda x, d: (x.exp() * d, (x + d).sum()), [X, X])
    draws = torch.arange(10, dtype=torch.float64).reshape(5, 2) / 10
    for at_once in (1, 2, 64):
        together = over_draws(graph, [draws], [X], at_once)
        for i, draw in enumerate(draws):
            for got, expected in zip(together, graph(draw, X), strict=True):
                assert torch.allclose(got[i], expected, atol=1e-14)


def writes(x: Tensor) -> tuple[Tensor, ...]:
    own, read, seen = x + 1, x + 2, torch.zeros(3, dtype=x.dtype)
    own[x < 0] = -torch.inf
    before = read * 1
    read.mul_(2)
    seen[:2].copy_(x)
    return own, read, before, seen


def test_writes_in_place_are_kept_in_order() -> None:
    graph = capture(writes, [X])
    for at in (X, -X):
        for got, expected in zip(graph(at), writes(at.clone()), strict=True):
            assert torch.equal(got, expected)
    ops = {str(node.target) for node in graph.graph.nodes}
    assert not [op for op in ops if op.endswith(("_.default", "_.Tensor", "_.Scalar"))]


def test_writes_to_a_part_counted_from_the_back_run_over_draws() -> None:
    def inner(x: Tensor) -> tuple[Tensor, ...]:
        whole = torch.zeros(4, dtype=x.dtype)
        whole[1:-1] = x
        return (whole,)

    draws = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    (found,) = over_draws(capture(inner, [X]), [draws], [])
    assert torch.equal(found, torch.nn.functional.pad(draws, (1, 1)))


def branches(x: Tensor) -> tuple[Tensor, ...]:
    return (x * 2,) if x.sum() > 0 else (x,)


def items(x: Tensor) -> tuple[Tensor, ...]:
    return (x * x.sum().item(),)


@pytest.mark.parametrize("function", [branches, items])
def test_branching_on_values_is_refused(function: object) -> None:
    validated = torch.distributions.Distribution._validate_args
    with pytest.raises(CaptureError, match=r"one graph.*torch\.where"):
        capture(function, [X])
    assert torch.distributions.Distribution._validate_args is validated


@pytest.mark.slow
def test_the_compiled_graph_is_the_graph() -> None:
    graph = capture(value_and_gradient(lambda x, d: (x.sin() * d).sum(), 1), [X, X])
    compiled = compile_graph(graph, [X, X])
    for got, expected in zip(compiled(X + 1, 2 * X), graph(X + 1, 2 * X), strict=True):
        assert torch.allclose(got, expected, atol=1e-12)
