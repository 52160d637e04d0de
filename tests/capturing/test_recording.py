"""A recorded function is the function, and no value of its inputs is frozen in it."""

from __future__ import annotations

import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from bayesmeta.capturing.recording import ValueRead, depends_on_input, record

X = torch.tensor([[0.3, -1.2], [0.7, 2.0]], dtype=torch.float64)
HELD = torch.tensor([1.0, 4.0], dtype=torch.float64)
WEIGHTS = torch.nn.Parameter(torch.tensor([0.5, -0.5], dtype=torch.float64))


def of_several(x: Tensor) -> tuple[Tensor, ...]:
    low, high = x.sort(-1).values.unbind(-1)
    return low * high, *x.split(1)


def written_through_a_view(x: Tensor) -> tuple[Tensor, ...]:
    whole = torch.zeros(2, 2, dtype=x.dtype)
    whole[0].add_(x[1] * HELD)
    whole.t()[1].mul_(2)
    fresh = torch.tensor([1.0, 2.0], dtype=x.dtype)
    fresh += x[0]
    return whole, fresh


def differentiated(x: Tensor) -> tuple[Tensor, ...]:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        value = torch.linalg.cholesky(leaf @ leaf.mT + torch.eye(2, dtype=x.dtype)).exp().sum()
        (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
        (bend,) = torch.autograd.grad((slope**2).sum(), leaf)
    return value.detach(), slope.detach(), bend


def batched(x: Tensor) -> tuple[Tensor, ...]:
    return (torch.func.vmap(torch.func.grad(lambda a: (a.sin() * WEIGHTS.detach()).sum()))(x),)


def of_constants(x: Tensor) -> tuple[Tensor, ...]:
    size = int(torch.tensor([2.0, 3.0]).sum().item()) + int(torch.arange(3).max())
    return x * size, HELD, WEIGHTS @ x


FUNCTIONS = (of_several, written_through_a_view, differentiated, batched, of_constants)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_graph_is_its_function_at_other_values(
    function: Callable[[Tensor], tuple[Tensor, ...]],
) -> None:
    graph = record(function, [X.clone()])
    for at in (X, X.flip(0) + 1, -3 * X):
        for got, expected in zip(graph(at.clone()), function(at.clone()), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("function", FUNCTIONS[:-1])
def test_the_operations_are_those_of_make_fx(
    function: Callable[[Tensor], tuple[Tensor, ...]],
) -> None:
    def operations(graph: torch.fx.GraphModule) -> list[str]:
        graph.graph.eliminate_dead_code()
        targets = [n.target for n in graph.graph.nodes if n.op == "call_function"]
        return [str(t) for t in targets if t is not operator.getitem]

    theirs = make_fx(function, decomposition_table={})(X.clone())
    assert operations(record(function, [X.clone()])) == operations(theirs)


def test_nodes_know_shape_strides_and_dtype_and_hold_no_values() -> None:
    graph = record(lambda x: ((x.t() > 0).sum(-1),), [X.clone()])
    values = {str(n.target): n.meta["val"] for n in graph.graph.nodes if n.op != "output"}
    assert values["aten.t.default"].stride() == (1, 2)
    assert values["aten.sum.dim_IntList"].shape == (2,)
    assert values["aten.gt.Scalar"].dtype == torch.bool
    assert all(value.is_meta for value in values.values())


def test_random_numbers_are_drawn_anew() -> None:
    graph = record(lambda x: (x + torch.randn_like(x),), [X.clone()])
    assert not torch.equal(graph(X)[0], graph(X)[0])


def shared_storage(x: Tensor) -> Tensor:
    whole = torch.zeros(3, dtype=x.dtype)
    whole[0] = x[0, 0]
    return x * whole.sum().item()


READS = (
    shared_storage,
    lambda x: x * torch.rand(()).item(),
    lambda x: x if torch.equal(x, x + 1) else -x,
    lambda x: x * (2 * x).max().item(),
)


@pytest.mark.parametrize("function", READS)
def test_values_of_inputs_are_not_read(function: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ValueRead, match=r"aten\."):
        record(function, [X.clone()])


def test_what_depends_on_inputs_is_known_while_recording_alone() -> None:
    seen = []

    def function(x: Tensor) -> Tensor:
        seen.extend([depends_on_input(t) for t in (x, 2 * x, HELD, 2 * HELD)])
        return x

    record(function, [X.clone()])
    assert seen == [True, True, False, False]
    assert not depends_on_input(X)
