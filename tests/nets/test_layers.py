"""The contract of Net over all layers of torch.nn: a layer equals torch, or is refused by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from bayesmeta import nets
from bayesmeta.capturing.capture import capture, compile_graph, value_and_gradient
from tests.nets.layers import CASES, F64, NO_LAYERS, Case

KEPT = [name for name, case in CASES.items() if not case.refused]
REFUSED = [name for name, case in CASES.items() if case.refused]


def made(case: Case) -> nn.Module:
    with nets.isolated(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # As of projections that one of torch's backends lacks.
        return case.make().to(F64)


def one_by_one(module: nn.Module, net: nets.Net, w: Tensor, x: Tensor) -> Tensor:
    """The outputs by torch itself, task by task; a row that is padding is as the module has it."""
    found = []
    for task, mine in enumerate(w.reshape(-1, net.size)):
        named = {n: mine[place] for n, place in net.slices.items()}
        given = {n: named[n].reshape(p.shape) for n, p in module.named_parameters()}
        for name, layer in module.named_modules():
            if getattr(layer, "padding_idx", None) is not None:
                key = f"{name}.weight"
                given[key] = given[key].clone()
                given[key][layer.padding_idx] = dict(module.named_parameters())[key][
                    layer.padding_idx
                ]
        found.append(functional_call(module, given, (x[task].clone(),)))
    return torch.stack(found)


# Torch batches max_unpool by a loop, and says so.
@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.filterwarnings("ignore:.*not supported with oneDNN")
@pytest.mark.parametrize("name", KEPT)
def test_a_layer_is_that_of_torch_to_second_order(name: str) -> None:
    case = CASES[name]
    module, x = made(case), case.inputs(3)
    net = nets.Net(module)
    noise = torch.Generator().manual_seed(2)
    size = net.weights().abs().mean()
    w = net.weights() + 0.1 * size * torch.randn(3, 1, net.size, generator=noise, dtype=F64)
    before = x.clone()
    together = net(w, x)
    torch.testing.assert_close(together, one_by_one(module, net, w, x), rtol=1e-10, atol=1e-12)
    # By any route, in any place of the batch, at any call: the same.
    torch.testing.assert_close(net(w[1:2], x[1:2]), together[1:2], rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net(w.flip(0), x.flip(0)).flip(0), together, rtol=0, atol=1e-12)
    shared = net(w[0, 0], x)
    expected = one_by_one(module, net, w[:1].expand(3, 1, -1), x)
    torch.testing.assert_close(shared, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(net(w, x), together, rtol=0, atol=0)
    assert torch.equal(x, before)
    check_derivatives(lambda at: net(at, x), lambda at: one_by_one(module, net, at, x), w)


def check_derivatives(
    ours: Callable[[Tensor], Tensor], torchs: Callable[[Tensor], Tensor], w: Tensor
) -> None:
    """Both derivatives along a direction against differences of torch's outputs, no gradient."""
    noise = torch.Generator().manual_seed(3)
    toward = 0.1 * torch.randn(w.shape, generator=noise, dtype=F64)
    shares = torch.randn(ours(w).shape, generator=noise, dtype=F64)

    def value(function: Callable[[Tensor], Tensor], step: float) -> Tensor:
        return (shares * function(w + step * toward).sin()).sum()

    at = w.clone().requires_grad_()
    total = (shares * ours(at).sin()).sum()
    (slope,) = torch.autograd.grad(total, at, create_graph=True)
    first = (slope * toward).sum()
    (bend,) = torch.autograd.grad(first, at, materialize_grads=True)
    with torch.no_grad():
        low, mid, high = (value(torchs, 1e-4 * k) for k in (-1, 0, 1))
    torch.testing.assert_close(first.detach(), (high - low) / 2e-4, rtol=1e-4, atol=1e-5)
    second = (high - 2 * mid + low) / 1e-8
    torch.testing.assert_close((bend * toward).sum(), second, rtol=1e-3, atol=1e-3)


def called_anew(module: nn.Module, x: Tensor) -> Tensor:
    net = nets.Net(module)
    return net(net.weights(), x)


@pytest.mark.parametrize("name", REFUSED)
def test_a_layer_that_is_no_function_is_refused_by_name(name: str) -> None:
    case = CASES[name]
    module, x = made(case), case.inputs(2)
    with pytest.raises(ValueError, match=rf"layer '\S+' \(\w+\).*{case.refused}"):
        called_anew(module, x)


def test_all_layers_of_torch_are_here() -> None:
    every = {
        name
        for name, kind in vars(nn).items()
        if isinstance(kind, type) and issubclass(kind, nn.Module)
    }
    losses = {name for name in every if "Loss" in name}
    lazy = {name for name in every if name.startswith("Lazy")}
    tried = {part for name in CASES for part in name.replace(",", "").split()}
    assert not every - losses - lazy - NO_LAYERS - tried


class Leaky(torch.autograd.Function):
    """Twice the input, with the slope that the test gives."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x**2

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, slope: Tensor) -> Tensor:
        return slope * ctx.saved_tensors[0]  # Half of what it is.

    generate_vmap_rule = True


class Wrong(nn.Module):
    """What a test says is done to what a linear layer gives."""

    def __init__(self, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.change, self.calls = change, 0
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self, x)


def counted(layer: nn.Module, x: Tensor) -> Tensor:
    layer.calls += 1
    return x * layer.calls


def remembered(layer: nn.Module, x: Tensor) -> Tensor:
    layer.seen += 1
    return x * layer.seen


def flipped_in_rows(layer: nn.Module, x: Tensor) -> Tensor:
    return x + x.cumsum(0).flip(0)


FAULTS = {
    "random": (lambda layer, x: x + torch.randn_like(x), "is random"),
    "counts": (counted, "keeps something from one to the next"),
    "remembers": (remembered, "changes its buffer 'seen'"),
    "half the slope": (lambda layer, x: Leaky.apply(x), "wrong first derivative"),
    "no slope": (lambda layer, x: x + (x**2).detach(), "wrong first derivative"),
    "pools": (lambda layer, x: x - x.mean(0), "beside others of its task than alone"),
    "weighs rows": (lambda layer, x: x * x.softmax(0), "beside others of its task than alone"),
    "reads later rows": (flipped_in_rows, "beside others of its task than alone"),
    "reads values": (lambda layer, x: x * x.sum().item(), "cannot be run on several tasks"),
    "of one task": (lambda layer, x: x if float(x.sum()) > 0 else -x, "cannot be run on several"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("tasks", [1, 3])
def test_what_is_wrong_is_found_by_what_it_does(fault: str, tasks: int) -> None:
    change, message = FAULTS[fault]
    net = nets.Net(nn.Sequential(nn.Linear(3, 4), Wrong(change), nn.Linear(4, 1)))
    with pytest.raises(nets.LayerError, match=rf"layer '1' \(Wrong\) of a network.*{message}"):
        net(net.weights().expand(tasks, 1, -1), torch.randn(tasks, 5, 3))


@pytest.mark.parametrize("tasks", [1, 3])
def test_a_network_that_writes_into_its_input_leaves_the_data_alone(tasks: int) -> None:
    net = nets.Net(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 1)))
    x = torch.randn(tasks, 5, 3)
    before, w = x.clone(), net.weights().expand(tasks, 1, -1)
    first = net(w, x)
    assert torch.equal(net(w, x), first) and torch.equal(x, before)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "LSTM",
        "GRU num_layers bidirectional bias",
        "MultiheadAttention False 0.0",
        "TransformerEncoderLayer",
        "Embedding padding_idx",
        "EmbeddingBag mean padding_idx",
        "weight_norm",
        "cdist",
        "Conv2d",
        "MaxPool2d",
        "InstanceNorm2d",
        "LayerNorm",
    ],
)
def test_compiled_a_layer_is_what_it_is(name: str) -> None:
    """The gradient of a gradient step's outcome, as MAML has it, in a graph and compiled."""
    case = CASES[name]
    net, x = nets.Net(made(case)), case.inputs(2)
    w = net.weights() + 0.01 * torch.arange(2, dtype=F64)[:, None, None]

    def adapted(at: Tensor, x: Tensor) -> Tensor:
        (slope,) = torch.autograd.grad(net(at, x).sin().sum(), at, create_graph=True)
        return net(at - 0.1 * slope, x).sin().sum()

    at = w.clone().requires_grad_()
    (expected,) = torch.autograd.grad(adapted(at, x), at)
    graph = capture(value_and_gradient(adapted, 1), [w, x])
    torch.testing.assert_close(graph(w, x)[1], expected)
    torch.testing.assert_close(compile_graph(graph, [w, x])(w, x)[1], expected)


class Forward(nn.Module):
    """The last state of a recurrence, with datapoints first or not."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=batch_first)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0].mean(1)


@pytest.mark.parametrize("tasks", [1, 3])
def test_recurrence_over_datapoints_is_refused(tasks: int) -> None:
    x = torch.randn(tasks, 5, 6, 3)
    net = nets.Net(Forward(batch_first=True))
    net(net.weights().expand(tasks, 1, -1), x)
    net = nets.Net(Forward(batch_first=False))
    with pytest.raises(nets.LayerError, match=r"layer 'layer' \(GRU\).*batch_first=True"):
        net(net.weights().expand(tasks, 1, -1), x)


def test_what_asks_for_real_rows_may_read_the_task() -> None:
    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = nets.real_rows()
            return x - (x.mean(0) if rows is None else (x * rows[:, None]).sum(0) / rows.sum())

    for net in (
        nets.Net(nn.Sequential(nn.Linear(3, 2), Pool())),
        nets.Net(
            nn.Sequential(nn.Linear(3, 2), Wrong(lambda layer, x: x - x.mean(0))), reads_task=True
        ),
    ):
        net(net.weights(), torch.randn(2, 5, 3))


def test_an_output_that_is_no_tensor_is_told() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.inner(x)}

    net = nets.Net(Named())
    with pytest.raises(nets.LayerError, match=r"network \(Named\) gives a dict, no tensor; put it"):
        net(net.weights(), torch.randn(2, 5, 3))


def test_a_tied_table_holds_its_row_as_a_table_alone() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.out = nn.Embedding(5, 3, padding_idx=0), nn.Linear(3, 5, bias=False)
            self.out.weight = self.table.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.table(x).tanh().mean(1))

    with nets.isolated(0):
        module = Tied().to(F64)
    net, x = nets.Net(module), torch.randint(5, (1, 4, 6))
    (expected,) = torch.autograd.grad(module(x[0]).sin().sum(), module.table.weight)
    w = net.weights().expand(1, 1, -1).clone().requires_grad_()
    (found,) = torch.autograd.grad(net(w, x).sin().sum(), w)
    torch.testing.assert_close(found.view(5, 3), expected)
    assert expected[0].any()
